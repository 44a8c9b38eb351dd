//! A script: acts, each with what is waited for before it. It is data, and can be told again.

use serde::{Deserialize, Serialize};

use crate::act::{Act, Kind};
use crate::model::Model;

/// The version of the form that scripts are kept in.
pub const VERSION: u32 = 1;

/// A history before it is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// [`VERSION`].
    pub version: u32,
    /// The seed that it was made from; 0 when a person wrote it.
    pub seed: u64,
    /// What the script is kept for, where it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// An act, and what is waited for before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What is waited for.
    #[serde(default, skip_serializing_if = "Wait::is_none")]
    pub wait: Wait,
    /// What happens then.
    #[serde(rename = "do")]
    pub act: Act,
}

/// A condition that is waited for, and for how long at most: a history goes on without it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// The condition.
    pub until: Condition,
    /// Milliseconds of the world's time.
    pub at_most_ms: u64,
}

/// What can be waited for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Nothing.
    #[default]
    Nothing,
    /// That the time is over.
    Time,
    /// That a cache is Ready for its present spec.
    Ready(String),
    /// That an object is gone.
    Gone(Kind, String),
    /// That a member tells of this effect once more than when the wait began.
    Effect(String),
    /// That the journal holds one more intent of a step of this kind.
    Intent(String),
}

impl Default for Wait {
    fn default() -> Self {
        Self { until: Condition::Nothing, at_most_ms: 0 }
    }
}

impl Wait {
    /// Waits for a time.
    pub fn time(ms: u64) -> Self {
        Self { until: Condition::Time, at_most_ms: ms }
    }

    /// Waits for a condition.
    pub fn until(until: Condition, at_most_ms: u64) -> Self {
        Self { until, at_most_ms }
    }

    fn is_none(&self) -> bool {
        self.until == Condition::Nothing
    }
}

impl Script {
    /// The model after every act.
    ///
    /// # Errors
    /// The first act that makes no sense after those before it.
    pub fn model(&self) -> Result<Model, String> {
        let mut model = Model::default();
        for (number, step) in self.steps.iter().enumerate() {
            model.take(&step.act).map_err(|why| format!("act {}: {why}", number + 1))?;
        }
        Ok(model)
    }

    /// The same script without the acts that make no sense after those before them.
    #[must_use]
    pub fn legal(&self) -> Self {
        let mut model = Model::default();
        let steps = self.steps.iter().filter(|step| model.take(&step.act).is_ok()).cloned();
        Self { steps: steps.collect(), ..self.clone() }
    }

    /// Reads a script.
    ///
    /// # Errors
    /// When it is no script, one of another version, or one that makes no sense.
    pub fn parse(text: &str) -> Result<Self, String> {
        let script: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if script.version != VERSION {
            return Err(format!("version {}, and this program reads {VERSION}", script.version));
        }
        script.model()?;
        Ok(script)
    }

    /// The text that [`Script::parse`] reads.
    pub fn text(&self) -> String {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        format!("{text}\n")
    }
}
