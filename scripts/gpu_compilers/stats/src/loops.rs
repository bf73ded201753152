//! Instructions of a kernel's hottest loop by class, from a driver's assembly: RADV's, NAK's (NVK), ir3's (Turnip).
//!
//! The hottest loop is the innermost one with most multiply-adds, else the innermost one with most instructions. Counts are static: what
//! lies under a condition inside of the loop counts once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Multiply-adds of a lane in an instruction of matrix units, about: 64 of NVIDIA's 16 x 8 x 16, 64 or 128 of AMD's 16 x 16 x 16.
const MATRIX: u64 = 64;

#[derive(Debug, Default)]
struct Block {
    label: String,
    /// Issue slots by class.
    counts: BTreeMap<&'static str, u64>,
    /// f32 multiply-adds, of which an instruction may have several.
    fmas: u64,
    /// Bytes a lane of workgroup memory read.
    shared_bytes: u64,
    targets: Vec<String>,
    falls_through: bool,
}

impl Block {
    fn new(label: String) -> Self {
        Self {
            label,
            falls_through: true,
            ..Self::default()
        }
    }

    fn count(&mut self, class: &'static str, slots: u64) {
        *self.counts.entry(class).or_default() += slots;
    }
}

pub fn hottest(representations: &[(String, String)]) -> Option<Value> {
    let find = |names: &[&str]| {
        representations
            .iter()
            .find(|(name, _)| names.iter().any(|n| name.eq_ignore_ascii_case(n)))
            .map(|(_, text)| text.as_str())
    };
    let blocks = if let Some(text) = find(&["NAK assembly"]) {
        nak(text)
    } else if let Some(text) = find(&["IR3 Assembly"]) {
        ir3(text)
    } else if let Some(text) = find(&["Assembly"]) {
        amd(text)
    } else {
        return None;
    };
    let all = loops(&blocks);
    let (mut best_key, mut best) = (None, None);
    for (header, inside) in &all {
        let inner = !all
            .iter()
            .any(|(other, _)| other != header && inside.contains(other));
        let fmas: u64 = inside.iter().map(|&b| blocks[b].fmas).sum();
        let slots: u64 = inside.iter().flat_map(|&b| blocks[b].counts.values()).sum();
        let key = (inner, fmas, slots);
        if best_key.is_none_or(|best| key > best) {
            (best_key, best) = (Some(key), Some(inside));
        }
    }
    let ((_, fmas, slots), inside) = best_key.zip(best)?;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (class, n) in inside.iter().flat_map(|&b| &blocks[b].counts) {
        *counts.entry(class).or_default() += n;
    }
    let shared_bytes: u64 = inside.iter().map(|&b| blocks[b].shared_bytes).sum();
    // Hints cost no issue slot of another wave.
    let slots = slots - counts.get("hint").copied().unwrap_or(0);
    let fma_slots = counts.get("fma").copied().unwrap_or(0);
    Some(json!({
        "loops": all.len(),
        "blocks": inside.len(),
        "slots": slots,
        "fmas": fmas,
        "shared_bytes": shared_bytes,
        "classes": counts,
        "fma_share": (fma_slots as f64 / slots.max(1) as f64 * 1000.0).round() / 1000.0,
    }))
}

/// The natural loops: each header, and the blocks from which a jump back to it can be reached without passing it.
fn loops(blocks: &[Block]) -> Vec<(usize, BTreeSet<usize>)> {
    let place: BTreeMap<&str, usize> = blocks
        .iter()
        .enumerate()
        .map(|(i, b)| (b.label.as_str(), i))
        .collect();
    let successors: Vec<Vec<usize>> = blocks
        .iter()
        .enumerate()
        .map(|(i, block)| {
            let mut to: Vec<usize> = block
                .targets
                .iter()
                .filter_map(|t| place.get(t.as_str()).copied())
                .collect();
            if block.falls_through && i + 1 < blocks.len() {
                to.push(i + 1);
            }
            to
        })
        .collect();
    let mut found: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (latch, to) in successors.iter().enumerate() {
        for &header in to.iter().filter(|&&h| h <= latch) {
            let inside = found
                .entry(header)
                .or_insert_with(|| BTreeSet::from([header]));
            let mut open = vec![latch];
            while let Some(block) = open.pop() {
                if inside.insert(block) {
                    // Drivers lay a loop's blocks out after what comes before it. A loop that tests at its end is entered there.
                    open.extend((header..blocks.len()).filter(|&p| successors[p].contains(&block)));
                }
            }
        }
    }
    found.into_iter().collect()
}

fn amd(text: &str) -> Vec<Block> {
    let mut blocks = vec![Block::new("start".to_owned())];
    for line in text.lines() {
        if let Some(label) = line.strip_suffix(':')
            && !line.starts_with(char::is_whitespace)
        {
            blocks.push(Block::new(label.to_owned()));
            continue;
        }
        let code = line.split(';').next().unwrap_or_default().trim();
        let Some(op) = code.split_whitespace().next() else {
            continue;
        };
        let Some(block) = blocks.last_mut() else {
            continue;
        };
        let is = |prefixes: &[&str]| prefixes.iter().any(|p| op.starts_with(p));
        if is(&["s_branch", "s_cbranch"]) {
            block
                .targets
                .extend(code.split_whitespace().nth(1).map(str::to_owned));
            block.falls_through = !is(&["s_branch"]);
            block.count("branch", 1);
        } else if is(&[
            "v_fma",
            "v_fmac",
            "v_mac_f32",
            "v_mad_f32",
            "v_pk_fma",
            "v_dual_fma",
        ]) || (op.starts_with("v_dual") && code.contains("v_dual_fma"))
        {
            let each = if is(&["v_pk_fma"]) { 2 } else { 1 };
            block.fmas += (code.matches("v_dual_fma").count() as u64).max(each);
            block.count("fma", 1);
        } else if is(&["v_wmma"]) {
            block.fmas += MATRIX;
            block.count("fma", 1);
        } else if is(&["ds_load", "ds_read"]) {
            let bytes = match op {
                o if o.contains("2addr_b64")
                    || o.contains("read2_b64")
                    || o.contains("read2st64_b64") =>
                {
                    16
                }
                o if o.contains("2addr") || o.contains("read2") => 8,
                o if o.contains("b128") => 16,
                o if o.contains("b96") => 12,
                o if o.contains("b64") => 8,
                _ => 4,
            };
            block.shared_bytes += bytes;
            block.count("shared load", 1);
        } else if is(&[
            "ds_bpermute",
            "ds_permute",
            "ds_swizzle",
            "v_readlane",
            "v_readfirstlane",
            "v_permlane",
            "v_writelane",
        ]) {
            block.count("cross-lane", 1);
        } else if is(&["ds_"]) {
            block.count("shared store", 1);
        } else if is(&["scratch_"]) {
            block.count("scratch", 1);
        } else if is(&["buffer_", "global_", "flat_", "image_", "tbuffer_"]) {
            block.count(
                if op.contains("store") {
                    "global store"
                } else {
                    "global load"
                },
                1,
            );
        } else if is(&["s_load", "s_buffer_load"]) {
            block.count("scalar load", 1);
        } else if is(&[
            "s_wait",
            "s_barrier",
            "s_delay_alu",
            "s_nop",
            "s_clause",
            "s_sleep",
            "s_sendmsg",
            "s_set_inst",
        ]) {
            let class = match op {
                o if o.starts_with("s_barrier") => "barrier",
                o if o.starts_with("s_wait") => "wait",
                _ => "hint",
            };
            block.count(class, 1);
        } else if is(&["s_"]) {
            block.count("scalar ALU", 1);
        } else if is(&["v_"]) {
            block.count("ALU", 1);
        } else {
            block.count("other", 1);
        }
    }
    blocks
}

fn nak(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in text.lines() {
        if line.starts_with("block") {
            let number = line.split_whitespace().nth(1).unwrap_or_default();
            blocks.push(Block {
                falls_through: false,
                ..Block::new(number.to_owned())
            });
            continue;
        }
        let Some(block) = blocks.last_mut() else {
            continue;
        };
        let code = line.split("//").next().unwrap_or_default().trim();
        if let Some(numbers) = code.strip_prefix("} -> [") {
            let numbers = numbers
                .trim_end_matches(']')
                .split(',')
                .map(|n| n.trim().to_owned());
            block.targets.extend(numbers);
            continue;
        }
        if code.is_empty() || code.starts_with('}') {
            continue;
        }
        let code = match code.strip_prefix('@') {
            Some(rest) => rest
                .split_once(char::is_whitespace)
                .map_or("", |(_, c)| c)
                .trim(),
            None => code,
        };
        let code = code.split_once(" = ").map_or(code, |(_, c)| c).trim();
        let op = code.split_whitespace().next().unwrap_or_default();
        let is = |prefixes: &[&str]| prefixes.iter().any(|p| op.starts_with(p));
        if is(&["bra"]) {
            block.count("branch", 1);
        } else if is(&["ffma", "hfma2", "dfma"]) {
            block.fmas += 1;
            block.count("fma", 1);
        } else if is(&["hmma"]) {
            block.fmas += MATRIX;
            block.count("fma", 1);
        } else if is(&["ld.shared", "lds"]) {
            block.shared_bytes += match op {
                o if o.contains("b128") => 16,
                o if o.contains("b64") => 8,
                _ => 4,
            };
            block.count("shared load", 1);
        } else if is(&["st.shared", "sts"]) {
            block.count("shared store", 1);
        } else if is(&["ld.local", "st.local", "ldl", "stl"]) {
            block.count("scratch", 1);
        } else if is(&["ld.global", "ld"]) && !is(&["ldc"]) {
            block.count("global load", 1);
        } else if is(&["st.", "suld", "sust"]) {
            block.count("global store", 1);
        } else if is(&["ldc"]) {
            block.count("scalar load", 1);
        } else if is(&["bar.", "membar"]) {
            block.count("barrier", 1);
        } else if is(&["shfl", "redux", "vote", "r2ur"]) {
            block.count("cross-lane", 1);
        } else if is(&[
            "bssy", "bsync", "bclear", "nop", "depbar", "bmov", "warpsync",
        ]) {
            block.count("convergence", 1);
        } else {
            block.count("ALU", 1);
        }
    }
    blocks
}

fn ir3(text: &str) -> Vec<Block> {
    let mut blocks = vec![Block::new("start".to_owned())];
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with([';', '@']) || line.is_empty() {
            continue;
        }
        if let Some(label) = line.strip_suffix(':') {
            blocks.push(Block::new(label.to_owned()));
            continue;
        }
        let Some(block) = blocks.last_mut() else {
            continue;
        };
        // Flags before the name: (rptN) repeats, (nopN) idles after it.
        let (mut repeat, mut idle, mut code) = (1, 0, line);
        while let Some(rest) = code.strip_prefix('(') {
            let Some((flag, after)) = rest.split_once(')') else {
                break;
            };
            if let Some(n) = flag.strip_prefix("rpt") {
                repeat = 1 + n.parse().unwrap_or(0);
            } else if let Some(n) = flag.strip_prefix("nop") {
                idle = n.parse().unwrap_or(0);
            }
            code = after.trim_start();
        }
        let op = code.split_whitespace().next().unwrap_or_default();
        let is = |prefixes: &[&str]| prefixes.iter().any(|p| op.starts_with(p));
        if idle > 0 {
            block.count("wait", idle);
        }
        if is(&["jump", "br", "bany", "ball", "shps"]) && code.contains('#') {
            block
                .targets
                .extend(code.rsplit('#').next().map(str::to_owned));
            block.falls_through = !is(&["jump"]);
            block.count("branch", 1);
        } else if is(&["mad.f32", "mad.f16"]) {
            block.fmas += repeat;
            block.count("fma", repeat);
        } else if is(&["ldl", "ldlw"]) {
            block.shared_bytes += 4 * code
                .rsplit(", ")
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(1);
            block.count("shared load", repeat);
        } else if is(&["stl"]) {
            block.count("shared store", repeat);
        } else if is(&["ldp", "stp"]) {
            block.count("scratch", repeat);
        } else if is(&["isam", "ldib", "ldg", "sam"]) {
            block.count("global load", repeat);
        } else if is(&["stib", "stg"]) {
            block.count("global store", repeat);
        } else if is(&["ldc"]) {
            block.count("scalar load", repeat);
        } else if is(&["nop"]) {
            block.count("wait", repeat);
        } else if is(&["bar", "fence", "sleep"]) {
            block.count("barrier", 1);
        } else if is(&["quad_shuffle", "shfl", "brcst", "getone", "getlast"]) {
            block.count("cross-lane", repeat);
        } else {
            block.count("ALU", repeat);
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, text: &str) -> Value {
        hottest(&[(name.to_owned(), text.to_owned())]).unwrap_or_default()
    }

    #[test]
    fn amd_counts_a_loop_and_only_it() {
        let text = "BB0:\n\tv_fma_f32 v0, v1, v2, v3 ; 00\nBB1:\n\ts_cbranch_scc1 BB3 ; 00\nBB2:\n\tds_load_b128 v[0:3], v4\n\tv_dual_fmac_f32 v0, v1, v2 :: v_dual_fmac_f32 v3, v4, v5\n\ts_branch BB1\nBB3:\n\ts_endpgm\n";
        let found = of("Assembly", text);
        assert_eq!(found["fmas"], 2);
        assert_eq!(found["classes"]["fma"], 1);
        assert_eq!(found["shared_bytes"], 16);
        assert_eq!(found["slots"], 4);
    }

    #[test]
    fn the_loop_of_matrix_units_is_found() {
        let amd = "BB0:\n\tv_mov_b32 v0, 0\nBB1:\n\tds_load_b64 v[0:1], v4\n\tv_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]\n\ts_cbranch_scc1 BB1\nBB2:\n\tv_fmac_f32 v0, v1, v2\n\ts_cbranch_scc1 BB2\nBB3:\n\ts_endpgm\n";
        let found = hottest(&[("Assembly".to_owned(), amd.to_owned())]).unwrap();
        assert_eq!(
            (&found["fmas"], &found["classes"]["fma"]),
            (&json!(64), &json!(1))
        );
        let nak = "block 0 L1 [0] -> {\n      r0..4  = hmma.m16n8k16.f32 r2 r3 r1  // d\n@!p0  bra pT L1  // d\n} -> [0, 1]\nblock 1 L2 [0] -> {\n  exit\n} -> []\n";
        let found = hottest(&[("NAK assembly".to_owned(), nak.to_owned())]).unwrap();
        assert_eq!(found["fmas"], 64);
    }

    #[test]
    fn a_loop_that_is_entered_at_its_end_leaves_its_entry_out() {
        let text = "BB0:\n\tv_mov_b32 v0, 0\n\ts_branch BB1\nBB3:\n\tv_fmac_f32 v0, v1, v2\nBB1:\n\ts_cbranch_scc0 BB3\nBB4:\n\ts_endpgm\n";
        assert_eq!(of("Assembly", text)["slots"], 2);
    }

    #[test]
    fn nak_knows_its_labels_and_predicates() {
        let text = "block.u 0 L2 [] -> {\n      r1  = mov r2  // delay=1\n} -> [1]\nblock 1 L1 [0] -> {\n@!p0  bra pT L9  // d\n      r9 = iadd3 r1 r2 rZ // d\n      r1  = ffma.ftz r2 r3 r1  // d\n      r4..8 = ld.shared.strong.cta.b128 [r1]  // d\n      } -> [2, 3]\nblock 2 L9 [1] -> {\n  st.global.a64.strong.gpu.b32 [r1] r2 // d\n} -> []\nblock 3 L7 [1] -> {\n      bra pT L1 // d\n} -> [1]\n";
        let found = of("NAK assembly", text);
        assert_eq!(found["fmas"], 1);
        assert_eq!(found["slots"], 5);
        assert_eq!(found["classes"]["shared load"], 1);
    }

    #[test]
    fn ir3_repeats_and_idles() {
        let text = "l1:\n(rpt3)nop\n(sy)(nop2) add.u r1.x, r2.x, r3.x\n(rpt1)mad.f32 r1.x, r2.x, r3.x, r4.x\nldl.u32 r25.z, l[r23.z], 4\n(sy)(ss)jump #l1\nl2:\nend\n";
        let found = of("IR3 Assembly", text);
        assert_eq!(found["fmas"], 2);
        assert_eq!(found["classes"]["wait"], 6);
        assert_eq!(found["shared_bytes"], 16);
        assert_eq!(found["slots"], 11);
    }
}
