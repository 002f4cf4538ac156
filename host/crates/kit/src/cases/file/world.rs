//! Owns the reading of the databases and the state of a case.

use pointsman_core::json::{Member, Node, NodeValue};

use super::{
    EXPECT_KEYS,
    fields::{Read, Reader, find},
};
use crate::cases::world::{After, Fixture, World};

const DATABASE_KEYS: [&str; 2] = ["fixture", "read_only"];

impl Reader<'_, '_> {
    /// What a case gives its handler, and what must be there after the call.
    pub(super) fn world(&self, members: &[Member<'_>]) -> Read<(World, After)> {
        let mut world = World::default();
        if let Some(node) = find(members, "sql") {
            for member in self.members(node, "`sql`")? {
                let fixture = self.fixture(&member.value)?;
                world.databases.insert(member.key.to_string(), fixture);
            }
        }
        if let Some(node) = find(members, "state") {
            world.state = Some(self.texts(node, "`state`")?);
        }
        let mut after = After::default();
        let Some(expect) = find(members, "expect") else {
            return Ok((world, after));
        };
        let expect = self.object(expect, "`expect`", &EXPECT_KEYS)?;
        if let Some(node) = find(expect, "sql") {
            for member in self.members(node, "`expect.sql`")? {
                let queries = self.texts(&member.value, "a database of `expect.sql`")?;
                if !world.databases.contains_key(&*member.key) {
                    let message = "the case has no such database under `sql`";
                    return Err(self.source.error(member.key_at, "no-database", message));
                }
                after.databases.insert(member.key.to_string(), queries);
            }
        }
        if let Some(node) = find(expect, "state") {
            after.state = Some(self.texts(node, "`expect.state`")?);
            world.state.get_or_insert_default();
        }
        if let Some(node) = find(expect, "emitted") {
            let NodeValue::Array(items) = &node.value else {
                return Err(self.wrong_kind(node, "`emitted`", "an array of commands"));
            };
            after.emitted = Some(items.iter().map(|item| self.written(item)).collect());
        }
        Ok((world, after))
    }

    /// Whether the handler may emit commands that `expect` does not name.
    pub(super) fn emits(&self, members: &[Member<'_>]) -> Read<bool> {
        match find(members, "emit").map(|node| (node, &node.value)) {
            None => Ok(false),
            Some((_, NodeValue::Bool(emits))) => Ok(*emits),
            Some((node, _)) => Err(self.wrong_kind(node, "`emit`", "true or false")),
        }
    }

    fn fixture(&self, node: &Node<'_>) -> Read<Fixture> {
        let members = self.object(node, "a database", &DATABASE_KEYS)?;
        let statements = match find(members, "fixture").map(|node| (node, &node.value)) {
            None => Vec::new(),
            Some((_, NodeValue::String(text))) => vec![text.to_string()],
            Some((_, NodeValue::Array(items))) => {
                let texts = items.iter().map(|item| self.text(item, "a statement"));
                texts
                    .map(|text| text.map(Into::into))
                    .collect::<Read<_>>()?
            }
            Some((node, _)) => {
                let wanted = "a string or an array of strings, each an SQL statement";
                return Err(self.wrong_kind(node, "`fixture`", wanted));
            }
        };
        let read_only = match find(members, "read_only").map(|node| (node, &node.value)) {
            None => false,
            Some((_, NodeValue::Bool(value))) => *value,
            Some((node, _)) => {
                return Err(self.wrong_kind(node, "`read_only`", "true or false"));
            }
        };
        Ok(Fixture {
            statements,
            read_only,
        })
    }

    /// The members of an object whose keys are the author's own.
    fn members<'n, 'd>(&self, node: &'n Node<'d>, what: &str) -> Read<&'n [Member<'d>]> {
        let NodeValue::Object(members) = &node.value else {
            return Err(self.wrong_kind(node, what, "an object"));
        };
        for (at, member) in members.iter().enumerate() {
            if members[..at].iter().any(|other| other.key == member.key) {
                return Err(self.duplicate(member));
            }
        }
        Ok(members)
    }

    /// Keys with the JSON text of their values.
    fn texts(&self, node: &Node<'_>, what: &str) -> Read<Vec<(String, String)>> {
        let members = self.members(node, what)?.iter();
        let text = |member: &Member<'_>| (member.key.to_string(), self.written(&member.value));
        Ok(members.map(text).collect())
    }

    fn written(&self, node: &Node<'_>) -> String {
        self.source.text[node.at..node.end].to_owned()
    }
}
