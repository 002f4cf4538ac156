//! `pointsman token`: makes tokens for clients of the HTTP server.

use std::time::SystemTime;

use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;
use pointsman_core::settings::duration;
use serde_json::json;

use super::{
    Exit, print,
    terminal::{self, out},
};
use crate::access::{NewToken, Role};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Debug, clap::Subcommand)]
enum Cmd {
    /// Make a token; prints it once, and the line that lets it in
    #[command(after_help = "\
The server keeps only the token's SHA-256. Roles do not include each other.

Examples:
  pointsman token new ci --role execute
  pointsman token new prometheus --role read
  pointsman token new ops --role read --role admin --expires 90d")]
    New {
        /// Name, as the audit log shows it
        name: String,
        /// What it may be used for; may be given several times
        #[arg(long = "role", value_name = "ROLE", required = true, value_parser = role())]
        roles: Vec<Role>,
        /// How long it is valid, for example 90d [default: until it is removed]
        #[arg(long, value_name = "DURATION", value_parser = parse_lifetime)]
        expires: Option<Timestamp>,
        /// Print the token and its line as JSON
        #[arg(long)]
        json: bool,
    },
}

/// One of the roles, which help and completions list.
fn role() -> impl TypedValueParser<Value = Role> {
    let names = Role::ALL.map(Role::as_str);
    PossibleValuesParser::new(names).try_map(|name| name.parse().map_err(|()| "not a role"))
}

/// When what lasts that long from now on ends, to the second.
fn parse_lifetime(text: &str) -> Result<Timestamp, String> {
    let lifetime = duration::parse(text).filter(|lifetime| !lifetime.is_zero());
    let end = lifetime.and_then(|lifetime| Timestamp::try_from(SystemTime::now() + lifetime).ok());
    end.and_then(|end| Timestamp::from_second(end.as_second()).ok())
        .ok_or_else(|| "write a number with its unit, such as `12h` or `90d`".into())
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let Cmd::New {
        name,
        roles,
        expires,
        json,
    } = &args.command;
    let made = NewToken::make(name, roles.iter().copied().collect(), *expires);
    let NewToken { secret, token } = made.context("no token was made")?;
    if *json {
        terminal::json(&json!({ "token": secret, "line": token.to_string() }))?;
        return Ok(Exit::Succeeded);
    }
    out!("{}", print::Styled(print::BOLD, &secret));
    out!("");
    out!("The token is not shown again. Clients send it as `Authorization: Bearer TOKEN`;");
    out!("the command line takes it from POINTSMAN_TOKEN or --token-file.");
    out!("");
    out!("To let it in, add to pointsman.toml and restart the server:");
    out!("  [http]");
    out!("  tokens = [\"{token}\"]");
    out!("or add this line to the file that `http.tokens_file` names, which is followed:");
    out!("  {token}");
    Ok(Exit::Succeeded)
}
