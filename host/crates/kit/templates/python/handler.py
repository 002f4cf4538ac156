"""Greets by name."""

from pointsman import Command, Unavailable, config, export, log


def handle(command: Command) -> dict:
    # A wrong command is rejected and not retried. Any other exception counts as rejected, too.
    name = command.field("name", str)
    # A temporary failure is `Unavailable`: the command is retried.
    if config("closed") == "true":
        raise Unavailable("the desk is closed", retry_after_ms=30_000)
    log.info(f"greeting {name}")
    return {"greeting": f"{config('greeting') or 'hello'} {name}"}


CommandHandler = export(handle)
