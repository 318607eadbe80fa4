"""Names for sessions that people can say and type, such as `brisk-otter`."""

import random
from collections.abc import Collection


def _words(text: str) -> list[str]:
    return text.split()


_HOW = _words("""
    able agile airy amber ample apt azure balmy bold brave breezy bright brisk calm candid
    clear clever cosmic cozy crisp curious daring deft eager early easy fair fancy fast fine
    fleet fond frank free fresh frosty gentle glad golden grand happy hardy hazel honest
    humble jolly keen kind lively loyal lucid lucky lunar mellow merry mighty mild modest neat
    nimble noble olive patient plucky polite prime proud quick quiet rapid ready regal rosy
    ruby rustic sage sandy serene sharp shiny silent silver smart snappy solar solid spry
    steady still sturdy sunny sure swift tidy tranquil trusty upbeat vivid warm wise witty
    zesty
""")
_WHO = _words("""
    badger beaver bison bobcat condor coral cougar coyote crane cricket curlew dingo dolphin
    egret elk ermine falcon ferret finch fox gannet gazelle gecko gibbon goose grebe grouse
    gull hare hawk heron hornet ibex ibis iguana jackal jaguar jay kestrel kite koala lark
    lemur leopard linnet lion llama lynx macaw magpie mallard marten merlin mink mole moose
    moth narwhal newt ocelot orca oriole osprey otter owl panda panther parrot pelican petrel
    pigeon pika plover puffin puma quail rabbit raven robin rook salmon seal shrew sparrow
    squid stoat stork swan swift tapir tern thrush tiger toucan trout turtle viper vole walrus
    weasel whale wombat wren yak
""")


def propose(taken: Collection[str], *, chance: random.Random | None = None) -> str:
    """Return a name that is not in `taken`; a number is added once most plain ones are gone."""
    chance = chance or random.Random()
    for attempt in range(10_000):
        name = f"{chance.choice(_HOW)}-{chance.choice(_WHO)}"
        if attempt >= 20:
            name = f"{name}-{chance.randrange(2, 10 + attempt * 10)}"
        if name not in taken:
            return name
    raise AssertionError("ten thousand names in a row were taken")


def is_valid(name: str) -> bool:
    """Whether `name` may be a session's id: 2 to 64 of `a-z 0-9 -`, a letter first, no `--`."""
    return (
        2 <= len(name) <= 64
        and name[0].isascii()
        and name[0].isalpha()
        and not name.endswith("-")
        and "--" not in name
        and all(c == "-" or (c.isascii() and (c.islower() or c.isdigit())) for c in name)
    )
