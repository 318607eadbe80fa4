"""The nouns and their state machines: sessions, turns, facts, agents. Values only.

Owns: what a session is, the table of its moves, every fact that may be stored about it, and the
pure function that reads a session's state from its events. Refuses: I/O, clocks, processes.
Confines nothing; `msgspec` structs are its values because they are also the wire form.
"""
