//! Owns the keys of a rule file: from the tree to a [`RuleFile`], with an error
//! at the first thing that is not as it should be.

mod schedules;

use std::sync::Arc;

use pointsman_core::{
    command::{Command, CommandError},
    name::{HandlerName, RuleName},
    source::{Source, excerpt, suggest},
};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{MAX_TESTS, RuleFile, RuleTest};
use crate::{
    Diagnostic, Dialect,
    event::FieldTrie,
    group,
    guard::Guard,
    json::{Member, Node, NodeValue},
    pattern,
    rule::{MAX_RULES, Membership, Origin, Rule, Select},
};

/// The most handlers of one rule.
const MAX_HANDLERS: usize = 100;
/// The most bytes of compiled regular expressions in one file: a hundred or more
/// of everyday size.
const MAX_REGEX_BYTES: usize = 16 << 20;

const FILE_KEYS: [&str; 5] = ["description", "dialect", "rules", "schedules", "tests"];
const RULE_KEYS: [&str; 9] = [
    "description",
    "fallback",
    "group",
    "guard",
    "handlers",
    "match",
    "name",
    "priority",
    "select",
];
const TEST_KEYS: [&str; 3] = ["command", "description", "handlers"];

pub(super) struct Reader<'r, 't> {
    source: &'r Source<'t>,
    /// Byte offset, line and column of the last rule or test.
    last_position: (usize, u32, u32),
    path: Arc<str>,
    is_json: bool,
    /// Each name is kept once, however many rules use it.
    handlers: FxHashMap<Box<str>, HandlerName>,
    /// What the regular expressions of guards take so far.
    regex_bytes: usize,
    /// Clauses that `$or` may still multiply into.
    copies: usize,
}

type Read<T> = Result<T, Diagnostic>;

impl<'r, 't> Reader<'r, 't> {
    pub(super) fn new(source: &'r Source<'t>, is_json: bool) -> Self {
        Self {
            source,
            last_position: (0, 1, 1),
            path: source.path.into(),
            is_json,
            handlers: FxHashMap::default(),
            regex_bytes: 0,
            copies: pattern::MAX_OR_COPIES,
        }
    }

    /// Reads the whole file, but does not run its tests.
    pub(super) fn file(mut self, root: &Node<'_>) -> Read<RuleFile> {
        let members = self.object(root, "a rule file", &FILE_KEYS)?;
        let mut file = RuleFile {
            path: self.path.clone(),
            dialect: Dialect::default(),
            rules: [].into(),
            tests: [].into(),
            schedules: [].into(),
            regex_bytes: 0,
            trie: FieldTrie::default(),
        };
        if let Some(node) = find(members, "dialect") {
            let index = self.one_of(node, "`dialect`", &Dialect::NAMES)?;
            file.dialect = [Dialect::Pointsman, Dialect::EventBridge][index];
        }
        if let Some(node) = find(members, "description") {
            self.text(node, "`description`")?;
        }
        let Some(rules) = find(members, "rules") else {
            return Err(self.source.error_with_hint(
                root.at,
                "missing-key",
                "a rule file needs `rules`",
                "`{\"rules\": []}` is the least",
            ));
        };
        let rules = self.items(rules, "`rules`", MAX_RULES)?;
        let mut names: FxHashMap<RuleName, u32> = FxHashMap::default();
        let mut read = Vec::with_capacity(rules.len());
        for node in rules {
            let rule = self.rule(node, file.dialect, &mut file.trie)?;
            if let Some(line) = names.insert(rule.name.clone(), rule.line()) {
                let message = format!("the rule name `{}` is used twice in this file", rule.name);
                return Err(self.source.error_with_hint(
                    node.at,
                    "name-twice",
                    message,
                    format!("the other one is on line {line}"),
                ));
            }
            read.push(rule);
        }
        file.regex_bytes = self.regex_bytes;
        file.rules = read.into();
        if let Some(schedules) = find(members, "schedules") {
            file.schedules = self.schedules(schedules)?;
        }
        if let Some(tests) = find(members, "tests") {
            let tests = self.items(tests, "`tests`", MAX_TESTS)?;
            file.tests = tests
                .iter()
                .map(|node| self.test(node))
                .collect::<Result<_, _>>()?;
        }
        group::selects(file.rules.iter())?;
        Ok(file)
    }

    fn rule(&mut self, node: &Node<'_>, dialect: Dialect, trie: &mut FieldTrie) -> Read<Rule> {
        let members = self.object(node, "a rule", &RULE_KEYS)?;
        let require = |key: &str| {
            find(members, key).ok_or_else(|| {
                let hint = "a rule has at least `name`, `match` and `handlers`";
                self.source.error_with_hint(
                    node.at,
                    "missing-key",
                    format!("this rule has no `{key}`"),
                    hint,
                )
            })
        };
        let (name_node, match_node, handlers_node) =
            (require("name")?, require("match")?, require("handlers")?);
        let name = self.name(name_node)?;
        let handlers = self.handlers(handlers_node)?;
        if handlers.is_empty() {
            let message = format!("rule `{name}` names no handler");
            return Err(self.source.error(handlers_node.at, "empty-array", message));
        }
        let description = match find(members, "description") {
            None => None,
            Some(node) => Some(self.text(node, "`description`")?.into()),
        };
        let membership = self.membership(members)?;
        let guard = find(members, "guard")
            .map(|node| self.guard(node))
            .transpose()?;
        let reading = (dialect, &mut self.copies);
        let conjuncts = pattern::read(self.source, reading, trie, match_node)?;
        let (line, column) = self.position(node.at);
        Ok(Rule {
            name,
            handlers,
            guard,
            conjuncts,
            membership,
            origin: Box::new(Origin {
                description,
                pattern: self.json_text(match_node),
                file: self.path.clone(),
                line,
                column,
            }),
        })
    }

    fn name(&self, node: &Node<'_>) -> Read<RuleName> {
        let text = self.text(node, "`name`")?;
        let Some(name) = RuleName::parse(text) else {
            let message = format!("`{}` is not a rule name", excerpt(text));
            let hint = format!(
                "1 to {} bytes, no control characters, no space at either end",
                RuleName::MAX_LEN
            );
            return Err(self
                .source
                .error_with_hint(node.at, "invalid-name", message, hint));
        };
        Ok(name)
    }

    /// The group of a rule and what it is in it.
    fn membership(&self, members: &[Member<'_>]) -> Read<Option<Box<Membership>>> {
        let group: Option<Arc<str>> = match find(members, "group") {
            None => None,
            Some(node) => Some(self.text(node, "`group`")?.into()),
        };
        for key in ["fallback", "select", "priority"] {
            if let (None, Some(value)) = (&group, find(members, key)) {
                let message = format!("`{key}` has no effect without `group`");
                return Err(self.source.error_with_hint(
                    value.at,
                    "no-group",
                    message,
                    "name the group that the rule belongs to",
                ));
            }
        }
        let fallback = match find(members, "fallback").map(|node| (node, &node.value)) {
            None => false,
            Some((_, NodeValue::Bool(value))) => *value,
            Some((node, _)) => return self.wrong_kind(node, "`fallback`", "true or false"),
        };
        let select = match find(members, "select") {
            None => None,
            Some(node) => {
                Some([Select::All, Select::First][self.one_of(node, "`select`", &Select::NAMES)?])
            }
        };
        let priority = match find(members, "priority").map(|node| (node, &node.value)) {
            None => None,
            Some((node, NodeValue::Number(text))) => match text.parse::<i64>() {
                Ok(priority) => Some(priority),
                Err(_) => return self.wrong_kind(node, "`priority`", "a whole number"),
            },
            Some((node, _)) => return self.wrong_kind(node, "`priority`", "a whole number"),
        };
        Ok(group.map(|group| {
            Box::new(Membership {
                group,
                fallback,
                select,
                priority,
            })
        }))
    }

    fn guard(&mut self, node: &Node<'_>) -> Read<Box<Guard>> {
        let text = self.text(node, "`guard`")?;
        let guard = Guard::parse(text).map_err(|error| {
            let column = 1 + text[..text.floor_char_boundary(error.at)].chars().count();
            let message = format!("invalid guard: column {column}: {}", error.message);
            match error.hint {
                Some(hint) => self
                    .source
                    .error_with_hint(node.at, "invalid-guard", message, hint),
                None => self.source.error(node.at, "invalid-guard", message),
            }
        })?;
        self.regex_bytes += guard.regex_bytes();
        if self.regex_bytes > MAX_REGEX_BYTES {
            let message = format!(
                "the patterns of `matches` in this file take more than {MAX_REGEX_BYTES} bytes, compiled"
            );
            let hint = "anchor them with `^`, use smaller counts, or use `wildcard` in `match`";
            return Err(self
                .source
                .error_with_hint(node.at, "too-large", message, hint));
        }
        Ok(Box::new(guard))
    }

    fn test(&mut self, node: &Node<'_>) -> Read<RuleTest> {
        let members = self.object(node, "a test", &TEST_KEYS)?;
        let require = |key: &str| {
            find(members, key).ok_or_else(|| {
                let hint = "a test has a `command` and the `handlers` it must reach";
                self.source.error_with_hint(
                    node.at,
                    "missing-key",
                    format!("this test has no `{key}`"),
                    hint,
                )
            })
        };
        let (command, handlers) = (require("command")?, require("handlers")?);
        if !matches!(command.value, NodeValue::Object(_)) {
            return self.wrong_kind(command, "`command`", "an object: the attributes");
        }
        let description = find(members, "description")
            .map(|node| self.text(node, "`description`"))
            .transpose()?;
        let (line, column) = self.position(node.at);
        Ok(RuleTest {
            command: self.command(command, "the test's")?,
            handlers: self.handlers(handlers)?.into_iter().collect(),
            description: description.map(Box::from),
            line,
            column,
        })
    }

    /// # Errors
    /// What no host takes as a command, such as a key that comes twice.
    fn command(&self, node: &Node<'_>, whose: &str) -> Read<Command> {
        Command::parse(&*self.json_text(node)).map_err(|error| match error {
            CommandError::Json { error } => {
                // What was TOML has no such places.
                let at = if self.is_json { error.at } else { 0 };
                let message = format!("{whose} `command`: {}", error.reason);
                self.source.error(node.at + at, "invalid-command", message)
            }
            error => self
                .source
                .error(node.at, "invalid-command", error.to_string()),
        })
    }

    fn handlers(&mut self, node: &Node<'_>) -> Read<SmallVec<[HandlerName; 1]>> {
        let items = self.items(node, "`handlers`", MAX_HANDLERS)?;
        let mut handlers = SmallVec::with_capacity(items.len());
        for item in items {
            let text = self.text(item, "a handler")?;
            let name = match self.handlers.get(text) {
                Some(name) => name.clone(),
                None => {
                    let name = HandlerName::parse(text).map_err(|error| {
                        self.source
                            .error(item.at, "invalid-handler", error.to_string())
                    })?;
                    self.handlers.insert(text.into(), name.clone());
                    name
                }
            };
            if handlers.contains(&name) {
                return Err(self.source.error(
                    item.at,
                    "handler-twice",
                    format!("the handler `{name}` is named twice"),
                ));
            }
            handlers.push(name);
        }
        Ok(handlers)
    }

    /// The members of an object that has no key but `allowed`, each once.
    fn object<'n, 'd>(
        &self,
        node: &'n Node<'d>,
        what: &str,
        allowed: &[&str],
    ) -> Read<&'n [Member<'d>]> {
        let NodeValue::Object(members) = &node.value else {
            return self.wrong_kind(node, what, "an object");
        };
        for (index, member) in members.iter().enumerate() {
            let key = &*member.key;
            if !allowed.contains(&key) {
                let message = format!("unknown key `{}` in {what}", excerpt(key));
                return Err(self.source.error_with_hint(
                    member.key_at,
                    "unknown-key",
                    message,
                    suggest(key, allowed),
                ));
            }
            // At most nine keys come this far.
            if members[..index].iter().any(|other| other.key == member.key) {
                return Err(self.source.error(
                    member.key_at,
                    "duplicate-key",
                    format!("duplicate key `{key}` in {what}"),
                ));
            }
        }
        Ok(members)
    }

    fn items<'n, 'd>(&self, node: &'n Node<'d>, what: &str, max: usize) -> Read<&'n [Node<'d>]> {
        match &node.value {
            NodeValue::Array(items) if items.len() > max => {
                let message = format!(
                    "{what} has {} elements, at most {max} are allowed",
                    items.len()
                );
                Err(self.source.error(node.at, "too-many", message))
            }
            NodeValue::Array(items) => Ok(items),
            _ => self.wrong_kind(node, what, "an array"),
        }
    }

    fn text<'n>(&self, node: &'n Node<'_>, what: &str) -> Read<&'n str> {
        match &node.value {
            NodeValue::String(text) => Ok(text),
            _ => self.wrong_kind(node, what, "a string"),
        }
    }

    fn one_of(&self, node: &Node<'_>, what: &str, names: &[&str]) -> Read<usize> {
        let text = self.text(node, what)?;
        names.iter().position(|name| *name == text).ok_or_else(|| {
            let message = format!("{what} cannot be `{}`", excerpt(text));
            self.source
                .error_with_hint(node.at, "unknown-value", message, suggest(text, names))
        })
    }

    fn wrong_kind<T>(&self, node: &Node<'_>, what: &str, wanted: &str) -> Read<T> {
        Err(self.source.error(
            node.at,
            "wrong-type",
            format!("{what} must be {wanted}, found {}", node.kind()),
        ))
    }

    fn json_text(&self, node: &Node<'_>) -> Box<str> {
        if self.is_json {
            return self.source.text[node.at..node.end].into();
        }
        let mut text = String::new();
        node.write(&mut text);
        text.into()
    }

    /// Line and column of a byte offset. Most offsets come in ascending order,
    /// and counting goes on from the last one: a file may be a single long line.
    fn position(&mut self, at: usize) -> (u32, u32) {
        if at < self.last_position.0 {
            self.last_position = (0, 1, 1);
        }
        let (from, mut line, mut column) = self.last_position;
        let between = &self.source.text[from..at];
        match memchr::memrchr(b'\n', between.as_bytes()) {
            Some(newline) => {
                line += memchr::memchr_iter(b'\n', between.as_bytes()).count() as u32;
                column = between[newline + 1..].chars().count() as u32 + 1;
            }
            None => column += between.chars().count() as u32,
        }
        self.last_position = (at, line, column);
        (line, column)
    }
}

fn find<'n, 't>(members: &'n [Member<'t>], key: &str) -> Option<&'n Node<'t>> {
    members
        .iter()
        .find(|member| member.key == key)
        .map(|member| &member.value)
}
