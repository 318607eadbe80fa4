from arena.figures import Skipped
class Cao:
    name="cao"
    slices={}
    def __init__(self, cache): pass
    def prepare(self): raise Skipped("x")
