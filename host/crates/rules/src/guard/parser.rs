//! Reads the text of a guard into an [`Expr`]: CEL's grammar, with every name
//! looked up on the way, so that one that does not exist is an error at its
//! place.

use super::{
    GuardError,
    binary::Binary,
    expr::{DEPTH_MAX, Each, EachKind, Expr, Kind, NESTING_MAX, TooDeep},
    functions::{self, Function},
    lexer::{Lexer, Token},
    regex::Regex,
    value,
};
use pointsman_core::name::nearest;

/// Words that CEL keeps for later.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Macros, which go over the elements of what they are called on.
const MACROS: [(&str, EachKind); 6] = [
    ("all", EachKind::All),
    ("exists", EachKind::Exists),
    ("exists_one", EachKind::ExistsOne),
    ("existsOne", EachKind::ExistsOne),
    ("filter", EachKind::Filter),
    ("map", EachKind::Map),
];

type Read<T = Expr> = Result<T, GuardError>;

/// Reads a whole guard.
///
/// # Errors
/// At the first thing wrong.
pub(super) fn parse(text: &str) -> Read {
    let mut lexer = Lexer::new(text);
    let (at, token) = lexer.next()?;
    let mut parser = Parser {
        text,
        lexer,
        at,
        token,
        nesting: 0,
        variables: Vec::new(),
    };
    let expr = parser.expr()?;
    match parser.token {
        Token::End => Ok(expr),
        _ => parser.unexpected("an operator or the end"),
    }
}

struct Parser<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
    /// Where the next token starts.
    at: usize,
    token: Token<'t>,
    /// How many calls of [`Self::expr`] and [`Self::unary`] are on the stack.
    nesting: u16,
    /// Of the macros around the next token, the outermost first.
    variables: Vec<&'t str>,
}

impl<'t> Parser<'t> {
    fn advance(&mut self) -> Read<Token<'t>> {
        let (at, token) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.token, Token::Symbol(found) if found == symbol)
    }

    fn eat(&mut self, symbol: &str) -> Read<bool> {
        let found = self.is(symbol);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, symbol: &str) -> Read<()> {
        match self.eat(symbol)? {
            true => Ok(()),
            false => self.unexpected(&format!("`{symbol}`")),
        }
    }

    fn unexpected<T>(&self, wanted: &str) -> Read<T> {
        let found = match &self.token {
            Token::Name(text) | Token::Int(text) | Token::Double(text) => format!("`{text}`"),
            Token::Unsigned(text) => format!("`{text}u`"),
            Token::Text(_) => "a string".to_owned(),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::End => "the end".to_owned(),
        };
        let message = format!("found {found}, expected {wanted}");
        Err(GuardError::at(self.at, message))
    }

    fn node(&self, at: usize, kind: Kind) -> Read {
        Expr::new(at, kind).map_err(|TooDeep| too_deep(at, DEPTH_MAX))
    }

    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        if self.nesting >= NESTING_MAX {
            return Err(too_deep(self.at, NESTING_MAX));
        }
        self.nesting += 1;
        let result = inner(self);
        self.nesting -= 1;
        result
    }

    fn expr(&mut self) -> Read {
        self.nested(|parser| {
            let condition = parser.terms(true)?;
            let at = parser.at;
            if !parser.eat("?")? {
                return Ok(condition);
            }
            let yes = parser.terms(true)?;
            parser.expect(":")?;
            let no = parser.expr()?;
            parser.node(at, Kind::Choice(Box::new([condition, yes, no])))
        })
    }

    /// `a || b || …`, or with `decisive` false `a && b && …`.
    fn terms(&mut self, decisive: bool) -> Read {
        let (at, symbol) = (self.at, if decisive { "||" } else { "&&" });
        let term = |parser: &mut Self| match decisive {
            true => parser.terms(false),
            false => parser.binary(0),
        };
        let first = term(self)?;
        if !self.is(symbol) {
            return Ok(first);
        }
        let mut terms = vec![first];
        while self.eat(symbol)? {
            terms.push(term(self)?);
        }
        self.node(at, Kind::Terms { decisive, terms })
    }

    /// Comparisons, sums and products; only operators that bind at least as
    /// tightly as `least`.
    fn binary(&mut self, least: u8) -> Read {
        let mut left = self.unary()?;
        loop {
            let Some((operator, binds)) = operator(&self.token).filter(|found| found.1 >= least)
            else {
                return Ok(left);
            };
            let at = self.at;
            self.advance()?;
            let right = self.nested(|parser| parser.binary(binds + 1))?;
            left = self.node(at, Kind::Binary(operator, Box::new([left, right])))?;
        }
    }

    fn unary(&mut self) -> Read {
        let at = self.at;
        if self.eat("!")? {
            let of = self.nested(Self::unary)?;
            return self.node(at, Kind::Not(Box::new(of)));
        }
        if self.eat("-")? {
            if let Token::Int(text) = self.token {
                // The least integer has no positive counterpart.
                let value = int(at, &format!("-{text}"))?;
                self.advance()?;
                let literal = self.node(at, Kind::Int(value))?;
                return self.members(literal);
            }
            if let Token::Unsigned(text) = self.token {
                let message = "an unsigned number cannot be negated".to_owned();
                return Err(GuardError::at(at, message).with_hint(format!("write `-{text}`")));
            }
            let of = self.nested(Self::unary)?;
            return self.node(at, Kind::Negate(Box::new(of)));
        }
        let primary = self.primary()?;
        self.members(primary)
    }

    /// What follows a value: fields, calls and indexes.
    fn members(&mut self, mut of: Expr) -> Read {
        loop {
            let at = self.at;
            if self.eat("[")? {
                let index = self.expr()?;
                self.expect("]")?;
                of = self.node(at, Kind::Index(Box::new([of, index])))?;
            } else if self.eat(".")? {
                let at = self.at;
                let Token::Name(name) = self.advance()? else {
                    let message = "a field name follows the dot".to_owned();
                    return Err(GuardError::at(at, message)
                        .with_hint("such as `command.amount`, or `command['detail-type']`"));
                };
                of = match self.eat("(")? {
                    true => self.method(at, name, of)?,
                    false => {
                        let (of, name) = (Box::new(of), name.into());
                        self.node(at, Kind::Field { of, name })?
                    }
                };
            } else {
                return Ok(of);
            }
        }
    }

    fn primary(&mut self) -> Read {
        let at = self.at;
        let kind = match self.advance()? {
            Token::Int(text) => Kind::Int(int(at, text)?),
            Token::Unsigned(text) => Kind::Unsigned(int(at, text)?),
            Token::Double(text) => Kind::Double(value::double(text)),
            Token::Text(text) => Kind::Text(text.into()),
            Token::Symbol("(") => {
                let inner = self.expr()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Symbol("[") => Kind::List(self.items("]", Self::expr)?),
            Token::Symbol("{") => Kind::Map(self.items("}", Self::entry)?),
            Token::Name("true") => Kind::Bool(true),
            Token::Name("false") => Kind::Bool(false),
            Token::Name("null") => Kind::Null,
            Token::Name(name) if self.is("(") => {
                self.advance()?;
                return self.call(at, name);
            }
            Token::Name(name) => return self.variable(at, name),
            token => {
                (self.at, self.token) = (at, token);
                return self.unexpected("a value");
            }
        };
        self.node(at, kind)
    }

    fn entry(&mut self) -> Read<[Expr; 2]> {
        let key = self.expr()?;
        self.expect(":")?;
        Ok([key, self.expr()?])
    }

    /// What stands between the commas up to `close`; one comma may follow the last.
    fn items<T>(&mut self, close: &str, item: impl Fn(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let mut items = Vec::new();
        while !self.eat(close)? {
            items.push(item(self)?);
            if !self.eat(",")? {
                self.expect(close)?;
                break;
            }
        }
        Ok(items)
    }

    fn variable(&self, at: usize, name: &str) -> Read {
        if let Some(number) = self.variables.iter().rposition(|known| *known == name) {
            return self.node(at, Kind::Variable(number));
        }
        if name == "command" {
            return self.node(at, Kind::Command);
        }
        if name == "in" || RESERVED.contains(&name) {
            return Err(GuardError::at(at, format!("`{name}` is a reserved word")));
        }
        let error = GuardError::at(at, format!("`{name}` is unknown"));
        // `command.detail-type` is a difference.
        let before = &self.text[..at];
        let hyphenated = before.strip_suffix('-').map(|before| {
            let start = before.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            &before[start.map_or(0, |start| start + 1)..]
        });
        if let Some(field) = hyphenated.filter(|field| !field.is_empty()) {
            return Err(error.with_hint(format!(
                "for a field with a hyphen, write `command['{field}-{name}']`"
            )));
        }
        let known = self.variables.iter().copied().chain(["command"]);
        Err(error.with_hint(match nearest(name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                format!("the command's attributes are under `command`, such as `command.{name}`")
            }
        }))
    }

    /// A call without a receiver; the bracket is behind.
    fn call(&mut self, at: usize, name: &str) -> Read {
        if name == "has" {
            let of = self.expr()?;
            self.expect(")")?;
            return match of.kind {
                Kind::Field { of, name } => self.node(at, Kind::Has { of, name }),
                _ => Err(GuardError::at(at, "`has` takes a field".to_owned())
                    .with_hint("such as `has(command.amount)`")),
            };
        }
        self.function(at, name, vec![], functions::Style::Global)
    }

    /// A call on `receiver`; the bracket is behind.
    fn method(&mut self, at: usize, name: &str, receiver: Expr) -> Read {
        if let Some(&(_, kind)) = MACROS.iter().find(|(known, _)| *known == name) {
            return self.each(at, kind, receiver);
        }
        self.function(at, name, vec![receiver], functions::Style::Method)
    }

    /// A call of a function on the arguments that are read already and those
    /// that follow.
    fn function(
        &mut self,
        at: usize,
        name: &str,
        mut arguments: Vec<Expr>,
        style: functions::Style,
    ) -> Read {
        let function = Function::find(name, style, MACROS.map(|(name, _)| name));
        let function = function.map_err(|(message, hint)| {
            let error = GuardError::at(at, message);
            match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        })?;
        arguments.extend(self.items(")", Self::expr)?);
        let count = function.arguments();
        if arguments.len() != count {
            let receiver = usize::from(style == functions::Style::Method);
            let message = format!(
                "`{name}` takes {} here, found {}",
                functions::counted(count - receiver),
                arguments.len() - receiver
            );
            return Err(GuardError::at(at, message));
        }
        if function != Function::Matches {
            return self.node(at, Kind::Call(function, arguments));
        }
        let (pattern, of) = (arguments.pop(), arguments.pop());
        match (of, pattern.map(|pattern| pattern.kind)) {
            (Some(of), Some(Kind::Text(pattern))) => {
                let regex = Regex::parse(&pattern);
                let regex = regex.map_err(|(message, hint)| {
                    let error = GuardError::at(at, message);
                    match hint {
                        Some(hint) => error.with_hint(hint),
                        None => error,
                    }
                })?;
                self.node(at, Kind::Matches(Box::new(of), Box::new(regex)))
            }
            _ => Err(GuardError::at(
                at,
                "the pattern of `matches` must be a string literal: it is compiled with the rule"
                    .to_owned(),
            )),
        }
    }

    /// A macro over `range`; the bracket is behind.
    fn each(&mut self, at: usize, kind: EachKind, range: Expr) -> Read {
        let name_at = self.at;
        let Token::Name(name) = self.advance()? else {
            let message = "a macro names its variable first".to_owned();
            return Err(GuardError::at(name_at, message)
                .with_hint("such as `command.items.exists(item, item.price > 100)`"));
        };
        self.expect(",")?;
        let variable = self.variables.len();
        self.variables.push(name);
        let first = self.expr()?;
        let second = match kind == EachKind::Map && self.eat(",")? {
            true => Some(self.expr()?),
            false => None,
        };
        self.variables.pop();
        self.expect(")")?;
        let (condition, makes) = match (kind, second) {
            (EachKind::Map, None) => (None, Some(first)),
            (_, second) => (Some(first), second),
        };
        let each = Each {
            kind,
            range,
            variable,
            condition,
            makes,
        };
        self.node(at, Kind::Each(Box::new(each)))
    }
}

fn too_deep(at: usize, max: u16) -> GuardError {
    GuardError::at(at, format!("nested deeper than {max} levels"))
        .with_hint("a chain of operators counts too: split the condition into several rules, or use `&&`, `||` or a list, which may be long")
}

fn int(at: usize, text: &str) -> Read<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let value = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(digits) => i64::from_str_radix(&format!("{sign}{digits}"), 16),
        None => text.parse(),
    };
    value.map_err(|_| {
        GuardError::at(at, format!("`{text}` is not a 64-bit integer"))
            .with_hint("a larger number is written with a fraction, such as `1e20`")
    })
}

/// The operator that a token is, and how tightly it binds.
fn operator(token: &Token<'_>) -> Option<(Binary, u8)> {
    Some(match token {
        Token::Name("in") => (Binary::In, 0),
        Token::Symbol("==") => (Binary::Equal, 0),
        Token::Symbol("!=") => (Binary::NotEqual, 0),
        Token::Symbol("<") => (Binary::Less, 0),
        Token::Symbol("<=") => (Binary::LessOrEqual, 0),
        Token::Symbol(">") => (Binary::Greater, 0),
        Token::Symbol(">=") => (Binary::GreaterOrEqual, 0),
        Token::Symbol("+") => (Binary::Add, 1),
        Token::Symbol("-") => (Binary::Subtract, 1),
        Token::Symbol("*") => (Binary::Multiply, 2),
        Token::Symbol("/") => (Binary::Divide, 2),
        Token::Symbol("%") => (Binary::Remainder, 2),
        _ => return None,
    })
}
