//! Findings as they come, each place once; and the origins of values that should not be relied on.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::code::Code;
use super::finding::{Finding, Kind, Line};

/// Where a value comes from that should not be relied on.
#[derive(Clone, Debug)]
struct Origin {
    kind: Kind,
    op: u32,
    message: String,
}

/// What is known of a shader's text.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    /// The line of each instruction.
    of_ops: Vec<u32>,
    texts: Vec<String>,
}

impl Lines {
    pub(super) fn new(source: &str, code: &Code) -> Self {
        let line = |span: &naga::Span| match span.is_defined() {
            true => span.location(source).line_number,
            false => 0,
        };
        Self {
            of_ops: code.spans.iter().map(line).collect(),
            texts: source.lines().map(|l| l.trim().to_owned()).collect(),
        }
    }

    /// The line of an instruction.
    pub(crate) fn line(&self, op: u32) -> Line {
        let number = self.of_ops.get(op as usize).copied().unwrap_or(0);
        let text = (number as usize).checked_sub(1);
        let text = text.and_then(|i| self.texts.get(i)).cloned();
        Line {
            number,
            text: text.unwrap_or_default(),
        }
    }

    fn number(&self, op: u32) -> u32 {
        self.of_ops.get(op as usize).copied().unwrap_or(0)
    }
}

/// The instruction of a finding that is of no line.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// Findings of one run after the other.
#[derive(Debug)]
pub(crate) struct Log {
    lines: Lines,
    findings: Vec<Finding>,
    known: HashMap<(Kind, u32, u32), usize>,
    origins: Vec<Origin>,
    origin_of: HashMap<(Kind, u32), u32>,
    /// What the run is called that is going on.
    pub(crate) run: String,
}

impl Log {
    pub(crate) fn new(lines: Lines) -> Self {
        Self {
            lines,
            findings: Vec::new(),
            known: HashMap::new(),
            // Number 0 is of what is sound.
            origins: vec![Origin {
                kind: Kind::Uninitialized,
                op: NOWHERE,
                message: String::new(),
            }],
            origin_of: HashMap::new(),
            run: String::new(),
        }
    }

    /// Adds a finding at the instruction `op`, and one at `other`; what is known already is counted.
    pub(crate) fn add(
        &mut self,
        kind: Kind,
        op: u32,
        other: Option<u32>,
        message: impl FnOnce(&Lines) -> String,
    ) {
        let (first, second) = (
            self.lines.number(op),
            other.map_or(0, |o| self.lines.number(o)),
        );
        // The same two places, whichever came first.
        let key = (kind, first.min(second), first.max(second));
        self.keep(key, (op, other), message);
    }

    /// Adds a finding, or counts it if its key is known.
    fn keep(
        &mut self,
        key: (Kind, u32, u32),
        (op, other): (u32, Option<u32>),
        message: impl FnOnce(&Lines) -> String,
    ) {
        match self.known.entry(key) {
            Entry::Occupied(known) => self.findings[*known.get()].times += 1,
            Entry::Vacant(new) => {
                new.insert(self.findings.len());
                self.findings.push(Finding {
                    kind: key.0,
                    line: self.lines.line(op),
                    other: other.map(|o| self.lines.line(o)),
                    message: message(&self.lines),
                    run: self.run.clone(),
                    times: 1,
                });
            }
        }
    }

    /// The number of the origin of a value that was born at `op`.
    pub(crate) fn origin(&mut self, kind: Kind, op: u32, message: impl FnOnce() -> String) -> u32 {
        if let Some(&known) = self.origin_of.get(&(kind, op)) {
            return known;
        }
        let number = self.origins.len() as u32;
        self.origins.push(Origin {
            kind,
            op,
            message: message(),
        });
        self.origin_of.insert((kind, op), number);
        number
    }

    /// Adds the finding of an origin whose value came to matter at `op`, as `effect` says.
    pub(crate) fn matters(
        &mut self,
        origin: u32,
        op: Option<u32>,
        effect: impl FnOnce() -> String,
    ) {
        let known = self.origins[origin as usize].clone();
        let other = op.filter(|&op| op != known.op);
        // One finding an origin, wherever it matters.
        let key = (known.kind, 0, self.lines.number(known.op));
        self.keep(key, (known.op, other), |_| {
            format!("{}, {}", known.message, effect())
        });
    }

    /// All findings, the likeliest first.
    pub(crate) fn finish(mut self) -> Vec<Finding> {
        self.findings
            .sort_by_key(|f| (f.kind, std::cmp::Reverse(f.times), f.line.number));
        self.findings
    }
}
