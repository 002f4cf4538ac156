//! Owns how the deliveries of one handler share what it may do: by key, and at which rate.

use std::time::Duration;

/// What a handler's settings say of its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// How many deliveries with one key run at once, over all hosts.
    pub per_key: Option<usize>,
    /// How many attempts may start.
    pub rate: Option<Rate>,
}

/// A bucket of `limit` tokens that is filled evenly, all of it within `per`. An attempt
/// takes one when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At most so many at once, and so many in each `per` from then on.
    pub limit: u32,
    /// How long an empty bucket takes to be full.
    pub per: Duration,
    /// Who has a bucket.
    pub of: RateOf,
}

/// Who has a bucket of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateOf {
    /// The handler: one for all of its deliveries.
    Handler,
    /// Each key, and those without a key together.
    Key,
}

/// What waits with a delivery whose handler asked for time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holds {
    /// Only itself.
    #[default]
    Delivery,
    /// All that have its key; those without a key together.
    Key,
    /// All of its handler: a pause that ends by itself.
    Handler,
}
