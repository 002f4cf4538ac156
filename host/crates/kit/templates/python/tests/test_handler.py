"""`python -m unittest` (or `pytest`) runs this; `pointsman test .` runs `cases/` in the sandbox."""

import unittest
from unittest.mock import patch

import handler
from pointsman import Command, Rejected, Unavailable


def command(**attributes: object) -> Command:
    return Command(id="1", attributes=attributes, attempt=1, delivery_id="1.greet", traceparent=None)


class Greets(unittest.TestCase):
    def test_by_name(self):
        self.assertEqual(handler.handle(command(name="Ada")), {"greeting": "hello Ada"})

    def test_nobody(self):
        with self.assertRaises(Rejected):
            handler.handle(command())

    def test_not_while_the_desk_is_closed(self):
        with patch("handler.config", {"closed": "true"}.get), self.assertRaises(Unavailable):
            handler.handle(command(name="Ada"))
