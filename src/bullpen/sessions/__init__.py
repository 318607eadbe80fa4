"""Sessions: create, send, wait, watch, approve, limit, stop; what was there is adopted again.

Owns: the life of every session of this host, from the wish to the removal; caps and the queue
behind them; what a restart does. Joins the hands (agents, places, git, store, process), which do
not know each other. Refuses: landing, HTTP, people. Confines no library.
"""
