"""Measuring Bullpen side by side with its peers: who takes part, what is measured, the table."""
