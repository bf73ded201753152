//! What the sanitizer says: findings, each once, the likeliest first.

use std::fmt;

use serde::Serialize;

/// What is wrong, the likeliest to matter first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// Two invocations access the same memory, one of them writes, and nothing orders them.
    Race,
    /// An index behind an array's end, before any clamp, or a write behind a tensor's.
    OutOfBounds,
    /// A barrier or a subgroup operation that not all reach, or not in the same round of a loop.
    NonUniform,
    /// Invocations that do not end.
    Endless,
    /// Memory that nobody wrote is read, and the result hangs on it.
    Uninitialized,
    /// A NaN or an infinity comes of numbers that are none, and the result hangs on it.
    NotFinite,
    /// The result hangs on the order in which invocations ran.
    ScheduleDependent,
    /// The result hangs on the size of subgroups, by more than sums in another order may.
    SubgroupSizeDependent,
    /// Two invocations write the same value to the same memory, and nothing orders them.
    RaceOfEquals,
}

impl Kind {
    /// In a word or two.
    pub fn name(self) -> &'static str {
        match self {
            Self::Race => "race",
            Self::OutOfBounds => "out of bounds",
            Self::NonUniform => "not uniform",
            Self::Endless => "endless",
            Self::Uninitialized => "never written",
            Self::NotFinite => "not finite",
            Self::ScheduleDependent => "depends on the schedule",
            Self::SubgroupSizeDependent => "depends on the size of subgroups",
            Self::RaceOfEquals => "race of equals",
        }
    }
}

/// A line of the shader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its number, from 1; 0 where the finding is of no line.
    pub number: u32,
    /// What stands there.
    pub text: String,
}

/// Something that is wrong, however often it was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// Where.
    pub line: Line,
    /// The other of two places.
    pub other: Option<Line>,
    /// Said of the first time: who, where, which values.
    pub message: String,
    /// In which run it was seen first: the order of invocations, the size of subgroups.
    pub run: String,
    /// How often.
    pub times: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.kind.name();
        match self.line.number {
            0 => write!(f, "{name}: {}", self.message)?,
            number => write!(f, "line {number}: {name}: {}", self.message)?,
        }
        if self.times > 1 {
            write!(f, " ({} times)", self.times)?;
        }
        if self.line.number > 0 {
            write!(f, "\n    {:>5} | {}", self.line.number, self.line.text)?;
        }
        match &self.other {
            Some(other) if other.number != self.line.number => {
                write!(f, "\n    {:>5} | {}", other.number, other.text)
            }
            _ => Ok(()),
        }
    }
}
