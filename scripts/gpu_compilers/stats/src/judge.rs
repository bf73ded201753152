//! What drivers say of a kernel, each in its own words, in one; and what is wrong with it.

use serde_json::Value;

/// The least share of a core's threads that a kernel should let it hold.
const LEAST_OCCUPANCY: f64 = 0.25;

/// What all drivers say.
#[derive(Clone, Copy, Debug)]
pub struct Statistics {
    pub registers: u64,
    /// Of the threads that a core can hold, where the driver says it or it follows from the registers.
    pub occupancy: Option<f64>,
    pub spills: u64,
    pub scratch: u64,
    /// The driver's own estimate: RADV's inverse throughput, NAK's static cycles. Comparable between versions of a kernel on one GPU at best.
    pub estimate: Option<u64>,
}

pub fn statistics(line: &Value) -> Option<Statistics> {
    let s = line["statistics"].as_object()?;
    let number = |n: &&str| s.get(*n).and_then(Value::as_u64);
    let of = |names: &[&str]| names.iter().find_map(number);
    let sum = |names: &[&str]| names.iter().filter_map(number).sum();
    let driver = line["driver"].as_str().unwrap_or_default();
    let device = line["device"].as_str().unwrap_or_default();
    let subgroup = line["subgroup"].as_u64().unwrap_or(32).max(1);
    let occupancy = if driver.starts_with("radv") {
        // Waves of a SIMD: 10 up to Vega; 20 on RDNA 1 and 16 later, which RADV counts in waves of 32 lanes whatever the kernel's own.
        // Its figure has workgroup memory and whole workgroups in it.
        let waves_of_32 = subgroup as f64 / 32.0;
        let most = if device.contains("VEGA") {
            10.0
        } else if device.contains("NAVI1") {
            20.0 * waves_of_32
        } else {
            16.0 * waves_of_32
        };
        of(&["Subgroups per SIMD"]).map(|n| n as f64 / most)
    } else if driver.starts_with("NVK") {
        // Warps of an SM by registers, as NAK says; workgroup memory besides: 64 KiB of Turing, about 100 KiB later.
        let turing = line["gpu"] == "turing";
        let (most, memory) = if turing {
            (32, 64 << 10)
        } else {
            (48, 100 << 10)
        };
        let shared = line["workgroup_bytes"].as_u64().unwrap_or(0);
        let warps = line["invocations"]
            .as_u64()
            .unwrap_or(64)
            .div_ceil(subgroup);
        let by_memory = memory / (shared + 1024) * warps;
        of(&["Max warps/SM"])
            .map(|n| (n / warps * warps).min(by_memory).min(most) as f64 / most as f64)
    } else if driver.starts_with("Honeykrisp") {
        of(&["Threads"]).map(|n| n as f64 / 1024.0)
    } else {
        of(&["Max Waves Per Core"]).map(|n| n as f64 / 16.0)
    };
    Some(Statistics {
        registers: of(&["VGPRs", "Number of GPRs", "GPRs", "Registers used"]).unwrap_or(0),
        occupancy,
        spills: sum(&[
            "Spilled VGPRs",
            "Spilled SGPRs",
            "Spills to memory",
            "Spills",
            "STP Count",
        ]),
        scratch: sum(&["Scratch size", "SLM size", "Scratch"]),
        estimate: of(&["Inverse Throughput", "Static cycle count"]),
    })
}

/// What can be wrong.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The compiler refused, died or did not end.
    Failure,
    /// Registers went to memory.
    Spills,
    /// Memory of an invocation's own.
    Scratch,
    /// Threads below a quarter of what a core holds.
    Occupancy,
}

impl Fault {
    pub const ALL: [Self; 4] = [Self::Failure, Self::Spills, Self::Scratch, Self::Occupancy];

    pub fn name(self) -> &'static str {
        match self {
            Self::Failure => "failed",
            Self::Spills => "spills",
            Self::Scratch => "scratch",
            Self::Occupancy => "occupancy",
        }
    }
}

/// The faults of a line, how bad each is (more is worse), and in words.
pub fn faults(line: &Value) -> Vec<(Fault, f64, String)> {
    if let Some(failure) = line["failure"].as_str() {
        let first = failure.lines().next().unwrap_or_default();
        return vec![(Fault::Failure, 1.0, first.to_owned())];
    }
    let Some(s) = statistics(line) else {
        return vec![(Fault::Failure, 1.0, "the driver says nothing".to_owned())];
    };
    let mut faults = Vec::new();
    if s.spills > 0 {
        faults.push((Fault::Spills, s.spills as f64, s.spills.to_string()));
    }
    if s.scratch > 0 {
        let words = format!("{} bytes", s.scratch);
        faults.push((Fault::Scratch, s.scratch as f64, words));
    }
    if let Some(share) = s.occupancy.filter(|&share| share < LEAST_OCCUPANCY) {
        let words = format!("{:.0} %", 100.0 * share);
        faults.push((Fault::Occupancy, 1.0 - share, words));
    }
    faults
}

/// Multiply-adds among the issue slots of a product's main loop.
pub fn fma_share(line: &Value) -> Option<f64> {
    let found = &line["loop"];
    let (fmas, slots) = (found["classes"]["fma"].as_u64()?, found["slots"].as_u64()?);
    // A loop with few of them is not the one that is meant.
    (fmas >= 8 && slots > 0).then(|| fmas as f64 / slots as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn drivers_say_the_same_in_other_words() {
        let radv = json!({"driver": "radv Mesa", "device": "X (RADV NAVI31)", "subgroup": 64,
            "statistics": {"VGPRs": 144, "Subgroups per SIMD": 10, "Spilled VGPRs": 3, "Scratch size": 64}});
        let found = faults(&radv);
        let kinds: Vec<Fault> = found.iter().map(|f| f.0).collect();
        assert_eq!(kinds, [Fault::Spills, Fault::Scratch]);
        assert_eq!(statistics(&radv).unwrap().occupancy, Some(10.0 / 32.0));
        // 8 warps a workgroup of 256; 17 KiB of 100 let 5 workgroups in, registers 2.
        let nvk = json!({"gpu": "ada", "driver": "NVK Mesa", "subgroup": 32, "invocations": 256, "workgroup_bytes": 16384,
            "statistics": {"Number of GPRs": 128, "Max warps/SM": 16}});
        assert_eq!(statistics(&nvk).unwrap().occupancy, Some(16.0 / 48.0));
        let died = json!({"failure": "the compiler died: signal: 11\nmore"});
        assert_eq!(
            faults(&died),
            [(
                Fault::Failure,
                1.0,
                "the compiler died: signal: 11".to_owned()
            )]
        );
        assert_eq!(faults(&json!({}))[0].0, Fault::Failure);
    }
}
