"""Running a real agent against the scripted model: a private home, dummy keys, no other host."""
