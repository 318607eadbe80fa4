"""A coding agent that does what its brief says, word for word: for demos, rehearsals and tests.

It speaks the Agent Client Protocol, version 1, on stdin and stdout. It needs nothing but Python,
asks no model and no network, and does the same thing each time.

    python -I demo_agent.py [--help | --version | --check FILE]

A script is a list of steps. In a brief, steps are the lines that begin with `%% ` and the lines
between ```demo and ```; all else is prose, which it does not read. A brief without steps gets a
short answer. In a block, and in a file for `play` or `--check`, the `%% ` may be left out, and
lines that begin with # are comments. A script with a mistake is not begun: the answer says what
is wrong, and the turn ends in an error that names the line.

    %% think Two files, then the tests.
    %% write notes/plan.txt <<END
    The body of a step: every line up to the one that is only END.
    END
    %% edit shop/cart.py: old text => new text
    %% run python -m unittest
    %% say delay=0.05 Both done, the tests pass.

Words in capitals stand for values; the last one takes the rest of the line, or a body. What is in
brackets may be left out. Paths are relative to the session's directory. Every step ends at once
when the turn is cancelled.

Modes: plan (changes nothing, and says so), ask (asks before each change, command and commit),
edit (asks before commands), bypass (never asks; a conversation starts in this one).

Environment:
  BULLPEN_DEMO_HOME     where conversations are kept; else $XDG_STATE_HOME/bullpen-demo, else
                        ~/.local/state/bullpen-demo
  BULLPEN_DEMO_MODE     the mode a new conversation starts in
  BULLPEN_DEMO_LOGIN=1  wants `authenticate` before the first conversation
  BULLPEN_DEMO_START    exit:CODE, hang, slow:SECONDS, garbage, refuse or protocol:N: how it
                        misbehaves before or while it answers `initialize`
"""
