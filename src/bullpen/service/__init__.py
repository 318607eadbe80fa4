"""The door for machines: HTTP and JSON under `/v1`, on a unix socket of the user's own.

Owns: routes, the table from errors to statuses, the life of the service process. Refuses: rules;
a handler parses, makes one call on `bullpen.api`, and answers. Confines fastapi, pydantic and
uvicorn.
"""
