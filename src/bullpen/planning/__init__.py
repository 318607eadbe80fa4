"""Planning: from phases to batches of parallel sessions, by numbered rules.

Owns: plans (YAML and Markdown), the decision parallel or sequential, levels and batches, briefs and
their lint, names, reviews and their consensus, the gates of cost and closure, the loop of long
tasks. Every function is pure: text and values in, values out; whoever calls reads the files.
Refuses: running anything, clocks, the network. Confines no library; PyYAML is read here.

Rules have numbers (`rules.RULES`); each has a test that carries its number.
"""
