"""What agents may do without asking, and what they may never do: pure rules over values.

Owns: the reading of a shell line (every command in it, however it is wrapped), rules and their
files, and the verdict over a deed. Refuses: files but the ones it is told to read, processes,
sessions; where a path really leads is told by whoever asks. Confines tree-sitter and tomlkit.
"""
