"""A model that answers from a script: what real agents talk to in rehearsals and tests.

Speaks Anthropic Messages, OpenAI Responses and Chat Completions, and Gemini, on loopback. Which
answer it gives is read from the conversation it is sent and nothing else, so it can be killed and
started again at any moment, and any number of agents may share one. No model is asked.
"""
