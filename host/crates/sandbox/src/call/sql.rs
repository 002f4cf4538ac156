//! Owns the contract's `sql`: databases by the names that the operator gave them.

use pointsman_database::{self as database, Session, SqlFault};

use super::{bindings::v0_2_0::pointsman::handler::sql, state::State};

impl State {
    /// The session of this call with a database.
    fn session(&mut self, name: String) -> Result<&mut Session, sql::Error> {
        let grants = &self.handler.grants;
        let Some(database) = grants.database(&name) else {
            let denial = grants.no_database(&name);
            return Err(sql::Error::Denied(self.deny(denial)));
        };
        let entry = self.sessions.entry(name);
        Ok(entry.or_insert_with(|| database.session()))
    }
}

impl sql::Host for State {
    async fn query(
        &mut self,
        database: String,
        statement: String,
        parameters: Vec<sql::Value>,
    ) -> Result<sql::Page, sql::Error> {
        let parameters = parameters.into_iter().map(Into::into).collect();
        let page = self.session(database)?.query(&statement, parameters).await;
        Ok(page?.into())
    }

    async fn next(&mut self, database: String) -> Result<sql::Page, sql::Error> {
        Ok(self.session(database)?.next().await?.into())
    }

    async fn execute(
        &mut self,
        database: String,
        statement: String,
        parameters: Vec<sql::Value>,
    ) -> Result<u64, sql::Error> {
        let parameters = parameters.into_iter().map(Into::into).collect();
        Ok(self
            .session(database)?
            .execute(&statement, parameters)
            .await?)
    }

    async fn begin(&mut self, database: String) -> Result<(), sql::Error> {
        Ok(self.session(database)?.begin().await?)
    }

    async fn commit(&mut self, database: String) -> Result<(), sql::Error> {
        Ok(self.session(database)?.commit().await?)
    }

    async fn rollback(&mut self, database: String) -> Result<(), sql::Error> {
        Ok(self.session(database)?.rollback().await?)
    }
}

impl From<sql::Value> for database::SqlValue {
    fn from(value: sql::Value) -> Self {
        match value {
            sql::Value::Null => Self::Null,
            sql::Value::Boolean(value) => Self::Boolean(value),
            sql::Value::Integer(value) => Self::Integer(value),
            sql::Value::Real(value) => Self::Real(value),
            sql::Value::Text(value) => Self::Text(value),
            sql::Value::Bytes(value) => Self::Bytes(value),
        }
    }
}

impl From<database::SqlValue> for sql::Value {
    fn from(value: database::SqlValue) -> Self {
        use database::SqlValue as Value;
        match value {
            Value::Null => Self::Null,
            Value::Boolean(value) => Self::Boolean(value),
            Value::Integer(value) => Self::Integer(value),
            Value::Real(value) => Self::Real(value),
            Value::Text(value) => Self::Text(value),
            Value::Bytes(value) => Self::Bytes(value),
        }
    }
}

impl From<database::SqlPage> for sql::Page {
    fn from(page: database::SqlPage) -> Self {
        let values = |row: Vec<database::SqlValue>| row.into_iter().map(Into::into).collect();
        Self {
            columns: page.columns,
            rows: page.rows.into_iter().map(values).collect(),
            more: page.more,
        }
    }
}

impl From<database::SqlError> for sql::Error {
    fn from(error: database::SqlError) -> Self {
        let said = sql::DatabaseError {
            code: error.code,
            message: error.message,
        };
        match error.fault {
            SqlFault::Denied => Self::Denied(said.message),
            SqlFault::Refused => Self::Refused(said),
            SqlFault::Unavailable => Self::Unavailable(said),
        }
    }
}
