//! `require`: expressions in the Common Expression Language over the claims.
//!
//! An expression is compiled when its policy is loaded and is true, or its policy is violated: false, no boolean, a
//! claim that nobody makes and an error in between all count as violations.

use std::collections::HashMap;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{Context, Program, Value as CelValue};
use serde_json::Value;

use super::PolicyError;
use crate::claims::Claims;

/// Octets of one expression.
const EXPRESSION_OCTETS: usize = 512;
/// Expressions of one policy.
pub(super) const EXPRESSIONS: usize = 32;
/// Brackets within brackets.
const NESTING: usize = 16;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct Expression {
    text: String,
    program: Arc<Program>,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// [`PolicyError::Expression`] for what is no expression, is larger than is read, or loops within a loop.
    pub fn compile(text: &str) -> Result<Self, PolicyError> {
        let refused = |why: String| PolicyError::Expression { text: text.to_owned(), why };
        if text.len() > EXPRESSION_OCTETS {
            return Err(refused(format!("it has more than {EXPRESSION_OCTETS} octets")));
        }
        if nesting(text) > NESTING {
            return Err(refused(format!("brackets are nested deeper than {NESTING}")));
        }
        let program = Program::compile(text).map_err(|error| refused(first_line(&error.to_string())))?;
        if has_nested_loop(program.expression(), false) {
            return Err(refused("it has a loop within a loop".to_owned()));
        }
        Ok(Self { text: text.to_owned(), program: Arc::new(program) })
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is true of these facts.
    ///
    /// # Errors
    /// Why it is not, as the end of a sentence.
    pub fn judge(&self, facts: &Context<'_, '_>) -> Result<(), String> {
        match self.program.execute(facts) {
            Ok(CelValue::Bool(true)) => Ok(()),
            Ok(CelValue::Bool(false)) => Err("is false".to_owned()),
            Ok(other) => Err(format!("is no boolean but a {}", other.type_of())),
            Err(error) => Err(format!("cannot be evaluated: {}", first_line(&error.to_string()))),
        }
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.trim().trim_end_matches('.').to_owned()
}

/// How deep brackets stand within brackets. Those in texts count as well, which only makes the bound stricter.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    for letter in text.chars() {
        match letter {
            '(' | '[' | '{' => depth = depth.saturating_add(1),
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Whether a macro that goes through a list stands inside another one: work would grow with a power of the claims.
fn has_nested_loop(expression: &IdedExpr, inside: bool) -> bool {
    let within = |expression: &IdedExpr| has_nested_loop(expression, inside);
    match &expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => false,
        Expr::Call(call) => call.target.as_deref().is_some_and(within) || call.args.iter().any(within),
        Expr::Comprehension(loops) => {
            inside
                || has_nested_loop(&loops.iter_range, true)
                || has_nested_loop(&loops.accu_init, true)
                || has_nested_loop(&loops.loop_cond, true)
                || has_nested_loop(&loops.loop_step, true)
                || has_nested_loop(&loops.result, true)
        }
        Expr::List(list) => list.elements.iter().any(within),
        Expr::Map(map) => map.entries.iter().any(|entry| entry_has_nested_loop(&entry.expr, inside)),
        Expr::Select(select) => within(&select.operand),
        Expr::Struct(value) => value.entries.iter().any(|entry| entry_has_nested_loop(&entry.expr, inside)),
    }
}

fn entry_has_nested_loop(entry: &EntryExpr, inside: bool) -> bool {
    match entry {
        EntryExpr::StructField(field) => has_nested_loop(&field.value, inside),
        EntryExpr::MapEntry(entry) => has_nested_loop(&entry.key, inside) || has_nested_loop(&entry.value, inside),
    }
}

/// What expressions see.
pub(crate) struct Variables<'a> {
    /// Claims by subject: `key`, `platform`, `attesting_key`.
    pub claims: [(&'static str, &'a Claims); 3],
    /// `freshness`: nonce, proof-of-possession or none.
    pub freshness: &'static str,
    /// `advisories`: ids of those that apply.
    pub advisories: Vec<String>,
}

impl Variables<'_> {
    /// The context in which expressions are evaluated: `claims.SUBJECT.NAME` is a value, `sources.SUBJECT.NAME` on
    /// whose word it rests.
    pub fn context(&self) -> Context<'static, 'static> {
        let map = |entries: HashMap<String, CelValue>| CelValue::from(entries);
        let subjects = |of: &dyn Fn(&crate::claims::Claim) -> CelValue| {
            let subjects = self.claims.iter().map(|(subject, claims)| {
                let members = claims.iter().map(|(name, claim)| (name.to_owned(), of(claim)));
                ((*subject).to_owned(), map(members.collect()))
            });
            map(subjects.collect())
        };
        let mut context = Context::default();
        context.add_variable_from_value("claims", subjects(&|claim| from_json(&claim.value)));
        context.add_variable_from_value("sources", subjects(&|claim| CelValue::from(claim.source.label())));
        context.add_variable_from_value("freshness", CelValue::from(self.freshness));
        let advisories: Vec<CelValue> = self.advisories.iter().map(|id| CelValue::from(id.as_str())).collect();
        context.add_variable_from_value("advisories", CelValue::List(Arc::new(advisories)));
        context
    }
}

/// A claim's value. Whole numbers are signed integers, as literals in expressions are.
pub(super) fn from_json(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(value) => CelValue::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => CelValue::Int(number),
            (None, Some(number), _) => CelValue::UInt(number),
            (None, None, number) => CelValue::Float(number.unwrap_or(f64::NAN)),
        },
        Value::String(text) => CelValue::from(text.as_str()),
        Value::Array(values) => CelValue::List(Arc::new(values.iter().map(from_json).collect())),
        Value::Object(members) => {
            let members: HashMap<String, CelValue> =
                members.iter().map(|(name, value)| (name.clone(), from_json(value))).collect();
            CelValue::from(members)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Source;

    fn judge(text: &str) -> Result<(), String> {
        let (mut key, mut platform) = (Claims::new(), Claims::new());
        key.put("purposes", vec!["sign", "decrypt"], Source::Signed, 0);
        key.put("extractable", false, Source::Implied, 0);
        platform.put("fips", serde_json::json!({"level": 2, "mode": true}), Source::Signed, 0);
        let attesting_key = Claims::new();
        let variables = Variables {
            claims: [("key", &key), ("platform", &platform), ("attesting_key", &attesting_key)],
            freshness: "nonce",
            advisories: vec!["CVE-2017-15361".to_owned()],
        };
        Expression::compile(text).unwrap().judge(&variables.context())
    }

    #[test]
    fn expressions_speak_of_claims() {
        for good in [
            "claims.platform.fips.level >= 2",
            "claims.platform.fips.mode && !claims.key.extractable",
            "'sign' in claims.key.purposes && freshness == 'nonce'",
            "claims.key.purposes.all(p, p in ['sign', 'decrypt', 'wrap'])",
            "sources.key.extractable == 'implied'",
            "'CVE-2017-15361' in advisories",
            "!has(claims.platform.debug) || claims.platform.debug == 'disabled'",
        ] {
            assert_eq!(judge(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_is_not_true_is_a_violation() {
        for (bad, why) in [
            ("claims.platform.fips.level >= 3", "is false"),
            ("claims.platform.fips.level", "is no boolean"),
            ("claims.platform.fw_version == '1'", "cannot be evaluated"),
            ("claims.platform.fips.mode >= 3", "cannot be evaluated"),
            ("nobody.knows", "cannot be evaluated"),
            ("claims.platform.fips.level / 0 == 1", "cannot be evaluated"),
        ] {
            let found = judge(bad).unwrap_err();
            assert!(found.starts_with(why), "{bad}: {found}");
        }
    }

    #[test]
    fn what_is_no_small_expression_is_refused_when_it_is_loaded() {
        let refused = |text: &str| match Expression::compile(text) {
            Err(PolicyError::Expression { why, .. }) => why,
            other => panic!("{text}: {other:?}"),
        };
        assert!(!refused("claims.key.").is_empty());
        assert!(refused(&"!".repeat(600)).contains("512"));
        assert!(refused(&format!("{}true{}", "(".repeat(17), ")".repeat(17))).contains("16"));
        assert!(refused("[1, 2].all(a, [1, 2].all(b, a == b))").contains("loop"));
        assert!(Expression::compile("[1, 2].all(a, a > 0) && [1].exists(b, b == 1)").is_ok());
    }
}
