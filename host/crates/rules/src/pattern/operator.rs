//! Owns the reading of one alternative of a field: a plain value, or an object
//! with one operator.

mod numeric;

use pointsman_core::source::{Source, excerpt, list, suggest};
use smol_str::SmolStr;

use crate::{
    Diagnostic, Dialect,
    decimal::Decimal,
    fold::fold_text,
    json::{Node, NodeValue},
    matcher::Matcher,
    network::{Address, Network, NetworkError},
    wildcard::{MAX_STARS, Wildcard, WildcardError},
};

/// Every operator, as messages list them.
pub(super) const OPERATORS: [&str; 9] = [
    "anything-but",
    "cidr",
    "equals-ignore-case",
    "exactly",
    "exists",
    "numeric",
    "prefix",
    "suffix",
    "wildcard",
];
/// What may stand inside `anything-but`.
const NEGATABLE: [&str; 4] = ["equals-ignore-case", "prefix", "suffix", "wildcard"];

pub(super) struct Reader<'r, 't> {
    pub(super) source: &'r Source<'t>,
    pub(super) dialect: Dialect,
    /// The path of the field, for messages.
    pub(super) field: &'r str,
}

type Read<T = Matcher> = Result<T, Diagnostic>;

impl Reader<'_, '_> {
    fn error<T>(&self, at: usize, code: &'static str, message: String) -> Read<T> {
        Err(self.source.error(at, code, message))
    }

    fn error_with_hint<T>(
        &self,
        at: usize,
        code: &'static str,
        message: String,
        hint: impl Into<String>,
    ) -> Read<T> {
        Err(self.source.error_with_hint(at, code, message, hint))
    }

    pub(super) fn alternative(&self, node: &Node<'_>) -> Read {
        Ok(match &node.value {
            NodeValue::Null => Matcher::Null,
            NodeValue::Bool(value) => Matcher::Bool(*value),
            NodeValue::Number(text) => self.literal(node, text)?,
            NodeValue::String(text) => match Address::parse(text, self.dialect) {
                Some(address) => {
                    Matcher::Address(Box::new((Network::single(address), (&**text).into())))
                }
                None => Matcher::Exact((&**text).into()),
            },
            NodeValue::Array(_) => {
                let message = format!(
                    "an alternative of `{}` must be a value or an operator, found an array",
                    self.field
                );
                return self.error_with_hint(
                    node.at,
                    "nested-array",
                    message,
                    "the alternatives stand in one array",
                );
            }
            NodeValue::Object(_) => return self.operator(node),
        })
    }

    /// A plain number. event-ruler also takes numbers that it cannot compare,
    /// and then compares the text.
    fn literal(&self, node: &Node<'_>, text: &str) -> Read {
        let number = Decimal::parse(text);
        if number.is_extreme() && self.dialect == Dialect::Pointsman {
            return self.extreme(node, text);
        }
        Ok(Matcher::Number(Box::new((number, text.into()))))
    }

    fn operator(&self, node: &Node<'_>) -> Read {
        let (name, name_at, value) = self.only_member(node, &OPERATORS)?;
        match name {
            "exactly" => Ok(Matcher::Exact(self.text(value, name)?.into())),
            "prefix" => self.affix(value, name, Matcher::Prefix, Matcher::PrefixIgnoreCase),
            "suffix" => self.affix(value, name, Matcher::Suffix, Matcher::SuffixIgnoreCase),
            "equals-ignore-case" => {
                let folded = fold_text(self.text(value, name)?);
                Ok(Matcher::EqualsIgnoreCase(folded.into()))
            }
            "wildcard" => self.wildcard(value),
            "exists" => match value.value {
                NodeValue::Bool(true) => Ok(Matcher::Exists),
                NodeValue::Bool(false) => Ok(Matcher::Absent),
                _ => {
                    let message = format!(
                        "`exists` for `{}` must be true or false, found {}",
                        self.field,
                        value.kind()
                    );
                    self.error(value.at, "operator-value", message)
                }
            },
            "cidr" => self.cidr(value),
            "numeric" => self
                .numeric(value)
                .map(|range| Matcher::Numeric(Box::new(range))),
            "anything-but" => self.anything_but(value).map(Matcher::AnythingBut),
            unknown => {
                let message = format!(
                    "unknown operator `{}` for `{}`",
                    excerpt(unknown),
                    self.field
                );
                self.error_with_hint(
                    name_at,
                    "unknown-operator",
                    message,
                    suggest(unknown, &OPERATORS),
                )
            }
        }
    }

    /// The one key of an operator object, where it stands, and its value.
    fn only_member<'n>(
        &self,
        node: &'n Node<'_>,
        allowed: &[&str],
    ) -> Read<(&'n str, usize, &'n Node<'n>)> {
        let NodeValue::Object(members) = &node.value else {
            let message = format!(
                "an operator for `{}` must be an object, found {}",
                self.field,
                node.kind()
            );
            return self.error(node.at, "operator-value", message);
        };
        match &members[..] {
            [only] => Ok((&only.key, only.key_at, &only.value)),
            [] => {
                let message = format!("an empty object for `{}` names no operator", self.field);
                self.error_with_hint(node.at, "empty-object", message, suggest("", allowed))
            }
            [first, second, ..] => {
                // An unknown name is the likelier slip than two operators.
                if let Some(unknown) = members
                    .iter()
                    .find(|member| !allowed.contains(&&*member.key))
                {
                    let message = format!(
                        "unknown operator `{}` for `{}`",
                        excerpt(&unknown.key),
                        self.field
                    );
                    return self.error_with_hint(
                        unknown.key_at,
                        "unknown-operator",
                        message,
                        suggest(&unknown.key, allowed),
                    );
                }
                let message = format!(
                    "two operators in one object for `{}`: `{}` and `{}`",
                    self.field, first.key, second.key
                );
                let hint = "an object has one operator; write alternatives as separate objects in the array";
                self.error_with_hint(second.key_at, "several-operators", message, hint)
            }
        }
    }

    fn text<'n>(&self, node: &'n Node<'_>, operator: &str) -> Read<&'n str> {
        match &node.value {
            NodeValue::String(text) => Ok(text),
            _ => {
                let message = format!(
                    "`{operator}` for `{}` must be a string, found {}",
                    self.field,
                    node.kind()
                );
                self.error(node.at, "operator-value", message)
            }
        }
    }

    /// `prefix` or `suffix`, plain or with `equals-ignore-case` inside.
    fn affix(
        &self,
        node: &Node<'_>,
        operator: &str,
        plain: fn(SmolStr) -> Matcher,
        folded: fn(SmolStr) -> Matcher,
    ) -> Read {
        if !matches!(node.value, NodeValue::Object(_)) {
            return self.text(node, operator).map(|text| plain(text.into()));
        }
        const ALLOWED: [&str; 1] = ["equals-ignore-case"];
        let (name, name_at, value) = self.only_member(node, &ALLOWED)?;
        if name != ALLOWED[0] {
            let message = format!(
                "unknown operator `{}` inside `{operator}` for `{}`",
                excerpt(name),
                self.field
            );
            return self.error_with_hint(
                name_at,
                "unknown-operator",
                message,
                suggest(name, &ALLOWED),
            );
        }
        self.text(value, name)
            .map(|text| folded(fold_text(text).into()))
    }

    fn wildcard(&self, node: &Node<'_>) -> Read {
        let text = self.text(node, "wildcard")?;
        let reason = match Wildcard::parse(text) {
            Ok(wildcard) => return Ok(Matcher::Wildcard(Box::new(wildcard))),
            Err(WildcardError::DoubleStar) => "two `*` in a row mean no more than one".to_owned(),
            Err(WildcardError::Escape) => {
                "a backslash is only allowed before `*` or another backslash".to_owned()
            }
            Err(WildcardError::TooManyStars) => format!("it has more than {MAX_STARS} `*`"),
        };
        let message = format!(
            "bad wildcard {} for `{}`: {reason}",
            serde_json::Value::from(excerpt(text)),
            self.field
        );
        self.error(node.at, "invalid-wildcard", message)
    }

    fn cidr(&self, node: &Node<'_>) -> Read {
        let text = self.text(node, "cidr")?;
        let reason = match Network::parse(text, self.dialect) {
            Ok(network) => return Ok(Matcher::Cidr(Box::new((network, text.into())))),
            Err(NetworkError::Form) => "it must be an address, `/` and a number of bits".to_owned(),
            Err(NetworkError::Address) => {
                "the part before `/` is no IPv4 or IPv6 address".to_owned()
            }
            Err(NetworkError::Bits(max)) => {
                format!("the part after `/` must be a number from 0 to {max}")
            }
        };
        let message = format!(
            "bad cidr {} for `{}`: {reason}",
            serde_json::Value::from(excerpt(text)),
            self.field
        );
        self.error_with_hint(
            node.at,
            "invalid-cidr",
            message,
            "such as `10.0.0.0/8` or `2001:db8::/32`",
        )
    }

    fn anything_but(&self, node: &Node<'_>) -> Read<Box<[Matcher]>> {
        let plain = |node: &Node<'_>| match &node.value {
            NodeValue::String(text) => Ok(Matcher::Exact((&**text).into())),
            NodeValue::Number(text) => {
                let number = self.number(node, "`anything-but`")?;
                Ok(Matcher::Number(Box::new((number, (&**text).into()))))
            }
            _ => {
                let message = format!(
                    "`anything-but` for `{}` takes strings or numbers, found {}",
                    self.field,
                    node.kind()
                );
                let hint = format!("or an object with one of {}", list(NEGATABLE));
                self.error_with_hint(node.at, "operator-value", message, hint)
            }
        };
        let items = match &node.value {
            NodeValue::Object(_) => return self.anything_but_operator(node),
            NodeValue::Array(items) => items,
            _ => return Ok(Box::new([plain(node)?])),
        };
        if items.is_empty() {
            let message = format!("`anything-but` for `{}` has an empty list", self.field);
            return self.error_with_hint(
                node.at,
                "empty-array",
                message,
                "`[{\"exists\": true}]` matches any value",
            );
        }
        let is_text = |node: &Node<'_>| matches!(node.value, NodeValue::String(_));
        let not = items.iter().map(plain).collect::<Result<Box<[_]>, _>>()?;
        match items
            .iter()
            .find(|item| is_text(item) != is_text(&items[0]))
        {
            Some(odd) => {
                let message = format!(
                    "`anything-but` for `{}` mixes strings and numbers",
                    self.field
                );
                self.error(odd.at, "operator-value", message)
            }
            None => Ok(not),
        }
    }

    /// `{"prefix": "a"}` and the like inside `anything-but`, also with a list.
    fn anything_but_operator(&self, node: &Node<'_>) -> Read<Box<[Matcher]>> {
        let (name, name_at, value) = self.only_member(node, &NEGATABLE)?;
        if !NEGATABLE.contains(&name) {
            let message = format!(
                "unknown operator `{}` inside `anything-but` for `{}`",
                excerpt(name),
                self.field
            );
            return self.error_with_hint(
                name_at,
                "unknown-operator",
                message,
                suggest(name, &NEGATABLE),
            );
        }
        let one = |item: &Node<'_>| {
            let text = self.text(item, name)?;
            if text.is_empty() && matches!(name, "prefix" | "suffix") {
                let message = format!(
                    "an empty `{name}` inside `anything-but` for `{}` would exclude every string",
                    self.field
                );
                return self.error(item.at, "operator-value", message);
            }
            match name {
                "prefix" => Ok(Matcher::Prefix(text.into())),
                "suffix" => Ok(Matcher::Suffix(text.into())),
                "wildcard" => self.wildcard(item),
                _ => Ok(Matcher::EqualsIgnoreCase(fold_text(text).into())),
            }
        };
        match &value.value {
            NodeValue::Array(items) if items.is_empty() => {
                let message = format!(
                    "`{name}` inside `anything-but` for `{}` has an empty list",
                    self.field
                );
                self.error(value.at, "empty-array", message)
            }
            NodeValue::Array(items) => items.iter().map(one).collect(),
            _ => Ok(Box::new([one(value)?])),
        }
    }
}
