//! `exceptions.toml`: what is known to be wrong, and why it may be.

use std::cell::Cell;

use serde::Deserialize;

use crate::judge::Fault;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exceptions {
    /// What compilers may make of kernels.
    #[serde(default)]
    pub exception: Vec<Exception>,
    /// What front ends of other languages may refuse.
    #[serde(default)]
    pub form: Vec<Form>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Family and variant; `*` is anything.
    pub kernel: String,
    /// The GPU's name.
    pub gpu: String,
    /// `first`, `candidate` or `verified`; without, any of them.
    pub role: Option<String>,
    pub excuses: Vec<Fault>,
    pub reason: String,
    #[serde(skip)]
    pub used: Cell<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    /// `spirv 1.3`, `spirv 1.6` or `hlsl`, or how they begin.
    pub form: String,
    /// What is in the complaint.
    pub says: String,
    /// What the kernel's text in that language has in it, which is why; anything where it is not given.
    #[serde(default)]
    pub has: String,
    pub reason: String,
}

impl Exceptions {
    pub fn read(path: &str) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
        let all: Self = toml::from_str(&text).map_err(|e| format!("{path}: {e}"))?;
        let roles = ["first", "candidate", "verified"];
        for e in &all.exception {
            if e.role.as_deref().is_some_and(|role| !roles.contains(&role)) {
                return Err(format!("{path}: role is one of {}", roles.join(", ")));
            }
            if e.excuses.is_empty() || e.reason.trim().is_empty() {
                return Err(format!(
                    "{path}: {} excuses nothing, or says not why",
                    e.kernel
                ));
            }
        }
        Ok(all)
    }

    /// Whether a fault is named; who names it is needed.
    pub fn excuse(&self, kernel: &str, gpu: &str, role: &str, fault: Fault) -> bool {
        let mut excused = false;
        for e in &self.exception {
            let of_role = e.role.as_deref().is_none_or(|r| r == role);
            if of_role && e.excuses.contains(&fault) && fits(&e.gpu, gpu) && fits(&e.kernel, kernel)
            {
                e.used.set(true);
                excused = true;
            }
        }
        excused
    }
}

/// Whether a text is a pattern's, in which `*` is anything.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_anything() {
        assert!(fits("matmul * subgroup*", "matmul nt subgroup8 32x4 +vec4"));
        assert!(fits("*", "") && fits("a", "a") && fits("a*c", "abc") && fits("*32x4*", "nt 32x4"));
        assert!(!fits("a", "ab") && !fits("a*c", "abcd") && !fits("matmul*", "conv2d"));
        // The last part does not take what an earlier one took.
        assert!(!fits("a*ba*a", "aba"));
    }

    #[test]
    fn what_is_excused_is_remembered() {
        let all: Exceptions = toml::from_str(
            "[[exception]]\nkernel = \"x *\"\ngpu = \"m1\"\nrole = \"candidate\"\nexcuses = [\"spills\"]\nreason = \"r\"",
        )
        .unwrap();
        assert!(!all.excuse("x y", "m1", "first", Fault::Spills));
        assert!(!all.excuse("x y", "m1", "candidate", Fault::Scratch));
        assert!(!all.exception[0].used.get());
        assert!(all.excuse("x y", "m1", "candidate", Fault::Spills));
        assert!(all.exception[0].used.get());
    }
}
