from pointsman import Command, export
from pointsman import emit, sql, state

main = sql.connection("main")


def transaction(command: Command):
    with main.transaction():
        main.execute("INSERT INTO customer VALUES (8, 'kept?')")
        if command.attributes.get("fail"):
            raise RuntimeError("no")
    return "kept"


NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n"


def many(_: Command):
    return sum(1 for row in main.each(NUMBERS) if row["i"] > 0)


def values(_: Command):
    given = [None, True, 7, 2**62, 0.5, "Zoë", b"\x00\xff"]
    row = main.query("SELECT $1 AS a, $2 AS b, $3 AS c, $4 AS d, $5 AS e, $6 AS f, $7 AS g", given)[0]
    return [row["a"], row["b"], row["c"], str(row["d"]), row["e"], row["f"], list(row["g"])]


def caught(_: Command):
    try:
        main.execute("INSERT INTO customer VALUES (7, 'again')")
    except sql.Refused as error:
        return ["refused", error.code]


def keep(_: Command):
    state.set("a", {"b": [1, None]})
    state.set("p/1", 1, ttl_ms=3_600_000)
    state.set("p/2", 2)
    return [
        state.get("a"),
        state.get("none"),
        state.compare_and_set("turn", state.ABSENT, 1),
        state.compare_and_set("turn", state.ABSENT, 2),
        state.compare_and_set("turn", 1, state.ABSENT),
        state.delete("a"),
        [list(item) for item in state.items("p/")],
    ]


WAYS = {
    "insert": lambda it: main.execute("INSERT INTO customer VALUES ($1, $2)", [it.field("id", int), it.field("name", str)]),
    "customers": lambda _: [f"{row['id']} {row['name']}" for row in main.query("SELECT id, name FROM customer ORDER BY id")],
    "transaction": transaction,
    "many": many,
    "values": values,
    "caught": caught,
    "rounded": lambda _: str(main.query("SELECT 9007199254740993 AS n")[0]["n"]),
    "twice": lambda _: [main.query("SELECT 1") for row in main.each(NUMBERS)],
    "unnamed": lambda it: state.get(it.attributes.get("key")),
    "wrong": lambda _: main.query("SELECT $1", [{}]),
    "count": lambda _: state.increment("calls"),
    "state": keep,
    "emit": lambda _: emit.command({"do": "nothing"}, delay_ms=3_600_000, ordering_key="k", priority=5),
    "nothing": lambda _: None,
}


CommandHandler = export(lambda command: WAYS[command.field("do", str)](command))
