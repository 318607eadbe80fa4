"""Run many coding agents at once, keep them alive, and land what they make."""
