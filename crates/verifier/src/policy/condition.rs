//! Conditions in the Common Expression Language over facts that are not a verdict's: the same language, bounds and strictness as
//! `require` in a policy.

use cel::Context;
use serde_json::{Map, Value};

use super::PolicyError;
use super::expression::{Expression, from_json};

/// A compiled condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition(Expression);

impl Condition {
    /// Compiles a condition.
    ///
    /// # Errors
    /// [`PolicyError::Expression`] for what is no expression, is larger than 512 octets, is nested deeper than 16, or loops
    /// within a loop.
    pub fn compile(text: &str) -> Result<Self, PolicyError> {
        Expression::compile(text).map(Self)
    }

    /// The condition as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.text()
    }

    /// Whether it is true of these facts, each a variable of its name.
    ///
    /// # Errors
    /// Why it is not, as the end of a sentence: false, no boolean, a fact that nobody knows and an error in between all count.
    pub fn judge(&self, facts: &Map<String, Value>) -> Result<(), String> {
        let mut context = Context::default();
        for (name, value) in facts {
            context.add_variable_from_value(name.as_str(), from_json(value));
        }
        self.0.judge(&context)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_true_of_the_facts_does_not_hold() {
        let facts = json!({"name": {"common_name": "a.example"}, "account": "alice"});
        let facts = facts.as_object().unwrap();
        let judge = |text: &str| Condition::compile(text).unwrap().judge(facts);
        assert_eq!(judge("name.common_name.endsWith('.example') && account == 'alice'"), Ok(()));
        assert_eq!(judge("account == 'bob'"), Err("is false".to_owned()));
        assert!(judge("name.organization == 'x'").unwrap_err().starts_with("cannot be evaluated"));
        assert!(judge("account").unwrap_err().starts_with("is no boolean"));
        assert!(Condition::compile("account ==").is_err());
    }
}
