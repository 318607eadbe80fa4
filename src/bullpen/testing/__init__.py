"""The kit for rehearsals and tests that is shipped with us: real programs, no mocks.

Owns: the demo agent, a coding agent that does what its brief says word for word (`demo_agent.py`
starts it, `demo/` is what it is made of), and the small things tests hold real processes by.
Refuses: to be imported by anything else we ship. Confines nothing.
"""
