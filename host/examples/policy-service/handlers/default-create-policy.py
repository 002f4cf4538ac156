"""Creates policies with default terms, and keeps the underwriter's cases."""

from pointsman import Command, export, log, sql, state

main = sql.connection("main")


def handle(command: Command) -> dict:
    customer = command.field("customer", str)
    if command.field("requestType", str) == "PolicyNotified":
        state.set(f"cases/{customer}", command.field("case", int))
        return {"case": state.get(f"cases/{customer}")}
    log.info("Creating default policy...")
    with main.transaction():
        main.execute(
            "CREATE TABLE IF NOT EXISTS policy (id text PRIMARY KEY, customer text NOT NULL, product text NOT NULL, terms text)"
        )
        main.execute(
            "INSERT INTO policy VALUES ($1, $2, $3, 'default') ON CONFLICT (id) DO NOTHING",
            [command.delivery_id, customer, command.field("productType", str)],
        )
    log.info("Default policy created")
    return {"policy": command.delivery_id}


CommandHandler = export(handle)
