"""Agents as data, and the dialects that speak to them.

Owns: the catalog (`catalog/*.toml` and the user's own files) and one pure state machine per
dialect. Refuses: processes, files of a conversation, clocks, the store; a dialect turns bytes
into facts and orders into bytes, and that is all. Confines no library; the official protocol
packages are used by its tests alone.
"""
