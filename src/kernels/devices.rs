//! Families of devices as data: what a typical one of each says it can do. For whoever wants to see what such a device would run, without it.
//!
//! ```
//! use wgen::kernels::devices;
//! use wgen::kernels::matmul::{Layout, Matmul};
//! use wgen::kernels::Kernel;
//!
//! let amd = devices::find("amd").unwrap();
//! let product = Matmul::new(&amd.caps, Layout::Nn, 1, 1024, 1024, 1024)?;
//! println!("on {} {}", amd.what, product.variant());
//! assert_eq!(devices::named_by(amd.caps.vendor).unwrap().name, "amd");
//! # Ok::<(), wgen::Error>(())
//! ```

use super::Caps;

/// Devices that have a vendor in common, and most of their capabilities.
#[derive(Clone, Debug)]
pub struct Family {
    /// What the command line calls it.
    pub name: &'static str,
    /// The device whose capabilities these are.
    pub what: &'static str,
    /// Where they come from.
    pub source: &'static str,
    /// What it can do, its vendor among it.
    pub caps: Caps,
}

/// PCI's number of AMD.
pub const AMD: u32 = 0x1002;
/// PCI's number of NVIDIA.
pub const NVIDIA: u32 = 0x10de;
/// PCI's number of Apple. Neither Metal (where wgpu says 0) nor Honeykrisp (where it says Mesa's) has it: [`Gpu`](crate::Gpu) knows them by
/// their names.
pub const APPLE: u32 = 0x106b;
/// PCI's number of Qualcomm.
pub const QUALCOMM: u32 = 0x5143;
/// PCI's number of Intel.
pub const INTEL: u32 = 0x8086;

/// Storage buffers that wgen makes use of, of the many that these devices have.
const BUFFERS: u32 = 16;
/// What wgpu 30 makes of any range above 2 GiB: a whole number of words below 2^31.
const RANGE: u64 = (1 << 31) - 4;
/// And of any buffer.
const BUFFER: u64 = (1 << 31) - 1;

/// All families.
pub const ALL: &[Family] = &[
    Family {
        name: "amd",
        what: "Radeon RX 7900 XTX (RDNA 3)",
        source: "wgen info on RADV, Mesa 26.2.6, no GPU; RDNA 1 to 4 say the same, GCN 5 subgroups of 64 alone",
        caps: Caps {
            vendor: AMD,
            subgroup_min_size: 32,
            subgroup_max_size: 64,
            storage_buffers: BUFFERS,
            binding_bytes: RANGE,
            buffer_bytes: BUFFER,
            invocations: 1024,
            workgroup_bytes: 64 << 10,
            f16: true,
            matrix_units: 16,
            ..Caps::portable()
        },
    },
    Family {
        name: "nvidia",
        what: "GeForce RTX 4090 (Ada)",
        source: "wgen info on NVK, Mesa 26.2.6, no GPU; Turing to Blackwell say the same",
        caps: Caps {
            vendor: NVIDIA,
            subgroup_min_size: 32,
            subgroup_max_size: 32,
            storage_buffers: BUFFERS,
            binding_bytes: RANGE,
            buffer_bytes: 1 << 31,
            invocations: 1024,
            workgroup_bytes: 48 << 10,
            f16: true,
            matrix_units: 16,
            ..Caps::portable()
        },
    },
    Family {
        name: "apple",
        what: "M1",
        source: "wgen info on Honeykrisp, Mesa 26.2.6, no GPU, but for the vendor; on Metal wgpu 30 says subgroups of 4 to 64",
        caps: Caps {
            vendor: APPLE,
            subgroup_min_size: 32,
            subgroup_max_size: 32,
            storage_buffers: BUFFERS,
            binding_bytes: RANGE,
            buffer_bytes: BUFFER,
            invocations: 1024,
            workgroup_bytes: 32 << 10,
            f16: true,
            ..Caps::portable()
        },
    },
    Family {
        name: "adreno",
        what: "Adreno 740",
        source: "wgen info on Turnip, Mesa 26.2.6, no GPU; the 750 says the same, the 630 no subgroups",
        caps: Caps {
            vendor: QUALCOMM,
            subgroup_min_size: 64,
            subgroup_max_size: 128,
            storage_buffers: BUFFERS,
            binding_bytes: 128 << 20,
            buffer_bytes: BUFFER,
            invocations: 1024,
            workgroup_bytes: 32 << 10,
            ..Caps::portable()
        },
    },
    Family {
        name: "intel",
        what: "Xe, as integrated since 2020",
        source: "Mesa's src/intel/vulkan/anv_physical_device.c, read and not run: subgroups of 16 to 32 from Xe2 on; ranges and buffers as wgpu cuts them",
        caps: Caps {
            vendor: INTEL,
            subgroup_min_size: 8,
            subgroup_max_size: 32,
            storage_buffers: BUFFERS,
            binding_bytes: RANGE,
            buffer_bytes: BUFFER,
            invocations: 1024,
            workgroup_bytes: 64 << 10,
            f16: true,
            ..Caps::portable()
        },
    },
    Family {
        name: "portable",
        what: "the floor that WebGPU guarantees",
        source: "the specification's default limits (WebGPU, section 3.6.2)",
        caps: Caps::portable(),
    },
];

/// The family of a name.
pub fn find(name: &str) -> Option<&'static Family> {
    ALL.iter().find(|family| family.name == name)
}

/// The family of a vendor; `None` of one that is not known, and of nobody.
pub fn named_by(vendor: u32) -> Option<&'static Family> {
    ALL.iter().find(|f| vendor != 0 && f.caps.vendor == vendor)
}

impl Caps {
    /// The first limit that is below what every kernel may count on: its name in WebGPU, what it is, what it has to be.
    pub fn below_floor(&self) -> Option<(&'static str, u64, u64)> {
        type Limit = (&'static str, fn(&Caps) -> u64);
        let limits: [Limit; 4] = [
            ("max_storage_buffers_per_shader_stage", |c| {
                c.storage_buffers.into()
            }),
            ("max_compute_invocations_per_workgroup", |c| {
                c.invocations.into()
            }),
            ("max_compute_workgroup_storage_size", |c| {
                c.workgroup_bytes.into()
            }),
            ("max_compute_workgroups_per_dimension", |c| {
                c.workgroups.into()
            }),
        ];
        let floor = Self::portable();
        // Kernels work on whatever binding fits; this is room for small tensors.
        let binding = (
            "max_storage_buffer_binding_size",
            self.binding_bytes,
            1 << 20,
        );
        let rows = limits.map(|(name, of)| (name, of(self), of(&floor)));
        let mut rows = rows.into_iter().chain([binding]);
        rows.find(|(_, has, needed)| has < needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_a_name_of_its_own_and_no_limit_below_the_floor() {
        for (i, family) in ALL.iter().enumerate() {
            assert!(family.caps.below_floor().is_none(), "{}", family.name);
            assert!(ALL[..i].iter().all(|other| other.name != family.name));
            let vendor = named_by(family.caps.vendor).map(|f| f.name);
            let expected = Some(family.name).filter(|&name| name != "portable");
            assert_eq!(vendor, expected);
        }
        let small = Caps {
            invocations: 128,
            ..Caps::portable()
        };
        assert_eq!(
            small.below_floor(),
            Some(("max_compute_invocations_per_workgroup", 128, 256))
        );
    }
}
