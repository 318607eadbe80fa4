"""Programs of ours that are started beside agents: each runs as a process of its own.

Owns: the tool server an agent reports its goal with, the agent that is a shell, the keeper of an
agent's own screen. Refuses: the service's rooms; they speak over standard streams, sockets and
files. Confines nothing, and imports nothing but the standard library: there may be hundreds.
"""
