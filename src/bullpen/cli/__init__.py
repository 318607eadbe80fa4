"""The door for people: parse, one request to the service, print. No rule lives here.

Owns the words of the command line, its exit codes (`exits`), its way to the service (`wire`,
`start`) and how things look (`show`). Refuses to decide anything about a session: a shell never
learns more than Python or REST can. Confines argparse and shtab.

A verb `some-verb` is two functions in one module, named in the table `main.VERBS`:

    def add_some_verb(parser: argparse.ArgumentParser) -> None    declares its arguments
    def some_verb(args: argparse.Namespace) -> int                does it; returns an exit code

A verb raises `exits.Refusal` for whatever it cannot do; `main` prints it. Everyday verbs import
the standard library only, and little of that: starting Python is most of their time.
"""
