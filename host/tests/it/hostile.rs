//! What means harm, or might as well: text, inputs and rules that nobody sane sends, alone and all at once.

mod foreign_text;
mod fuzzed_inputs;
mod rules;
mod soak;
