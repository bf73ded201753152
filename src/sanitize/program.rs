//! A shader that can be run: parsed, validated, compiled; and what it is run on.

use naga::Module;
use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};

use super::code::{Code, Place, Variable};
use super::compile::compile;
use super::log::{Lines, Log};
use super::machine::{Image, Machine, Memory, NEVER};
use super::resources::{Input, Resource, ResourceKind, resource};
use super::results::{Writers, alike, same};
use super::{Counts, Options, Report, Run};
use crate::error::{Error, Result};

/// A compute shader that can be examined.
#[derive(Debug)]
pub struct Program {
    code: Code,
    lines: Lines,
    resources: Vec<Resource>,
    entry: String,
}

impl Program {
    /// Reads and validates WGSL. `entry` is its entry point, which may be left out where there is one compute shader; `constants` are values of its
    /// `override` declarations.
    ///
    /// # Errors
    /// When it is not valid, there is no such entry point, or it uses something that is not supported, which is named.
    pub fn new(source: &str, entry: Option<&str>, constants: &[(String, f64)]) -> Result<Self> {
        let fail = |message: String| Error::Shader {
            name: entry.unwrap_or("WGSL").to_owned(),
            message,
        };
        let source = &without_subgroups(source);
        let module =
            naga::front::wgsl::parse_str(source).map_err(|e| fail(e.emit_to_string(source)))?;
        let entry = entry_point(&module, entry).map_err(fail)?;
        // Whether control flow is uniform is seen when it runs.
        let flags = ValidationFlags::all() - ValidationFlags::CONTROL_FLOW_UNIFORMITY;
        let validate = |module: &Module| {
            Validator::new(flags, Capabilities::all())
                .subgroup_stages(ShaderStages::COMPUTE)
                .subgroup_operations(SubgroupOperationSet::all())
                .validate(module)
                .map_err(|e| fail(e.emit_to_string(source)))
        };
        let info = validate(&module)?;
        let values = constants.iter().cloned().collect();
        let point = Some((naga::ShaderStage::Compute, entry.as_str()));
        let (module, info) =
            naga::back::pipeline_constants::process_overrides(&module, &info, point, &values)
                .map_err(|e| fail(format!("its constants: {}", whole(&e))))?;
        let code = compile(&module, &info, &entry)
            .map_err(|what| fail(format!("the sanitizer does not support {what}")))?;
        let of = |v: &Variable| resource(&module, v);
        let resources = code.variables.iter().filter_map(of).collect();
        Ok(Self {
            lines: Lines::new(source, &code),
            resources,
            entry,
            code,
        })
    }

    /// The bindings that its entry point uses, in the order in which [`Program::run`] wants their inputs.
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The name of its entry point.
    pub fn entry(&self) -> &str {
        &self.entry
    }

    /// Invocations of a workgroup in x, y, z.
    pub fn workgroup_size(&self) -> [u32; 3] {
        self.code.workgroup_size
    }

    /// Whether it has to do with subgroups.
    pub fn uses_subgroups(&self) -> bool {
        self.code.subgroups
    }

    /// Runs it over `inputs`, one a resource, in each of the orders and with each size of subgroups.
    ///
    /// # Errors
    /// When inputs are not what the shader binds, or there would be no run. What is wrong with the shader is in the report.
    pub fn run(&self, inputs: &[Input], workgroups: [u32; 3], options: &Options) -> Result<Report> {
        self.check(inputs, workgroups, options)?;
        let mut log = Log::new(self.lines.clone());
        let sizes: &[u32] = match self.code.subgroups {
            true => &options.subgroup_sizes,
            false => &[32],
        };
        let mut runs: Vec<Run> = Vec::new();
        let mut writers: Vec<Writers> = Vec::new();
        let mut counts = None;
        let mut ended = false;
        for &size in sizes {
            let first = runs.len();
            for &order in &options.orders {
                log.run = order.name();
                if self.code.subgroups {
                    log.run += &format!(", subgroups of {size}");
                }
                let mut machine = self.machine(inputs, workgroups, (size, options), &mut log);
                machine.run(order);
                machine.outputs(|i| self.buffer_name(i));
                let outputs = self.outputs(&machine);
                writers.push(self.writers(&machine));
                let count = count(&machine);
                ended = machine.ended;
                counts.get_or_insert(count);
                let name = log.run.clone();
                runs.push(Run { name, outputs });
                // What was given up says nothing of the results.
                if ended {
                    break;
                }
                let last = writers.len() - 1;
                let two = [&writers[first], &writers[last]];
                same(&self.resources, &runs, first, &mut log, two);
                if last == first {
                    let two = [&writers[0], &writers[first]];
                    alike(&self.resources, &runs, first, &mut log, two);
                }
            }
            if ended {
                break;
            }
        }
        Ok(Report {
            findings: log.finish(),
            counts: counts.unwrap_or_default(),
            runs,
        })
    }

    fn check(&self, inputs: &[Input], workgroups: [u32; 3], options: &Options) -> Result<()> {
        let (given, wanted) = (inputs.len(), self.resources.len());
        if given != wanted {
            return Err(Error::Usage(format!(
                "{}: {wanted} bindings want an input each, {given} were given",
                self.entry
            )));
        }
        for (resource, input) in self.resources.iter().zip(inputs) {
            let name = &resource.name;
            let fits = match input {
                Input::Buffer { bytes, .. } => {
                    let least = u64::from(resource.bytes);
                    let kind = resource.kind;
                    if *bytes < least {
                        return Err(Error::Usage(format!(
                            "'{name}' has at least {least} bytes, its input {bytes}"
                        )));
                    }
                    if *bytes > MOST_BYTES {
                        return Err(Error::Usage(format!(
                            "'{name}' has {bytes} bytes, the sanitizer takes {MOST_BYTES}"
                        )));
                    }
                    !matches!(kind, ResourceKind::Sampler)
                        && !matches!(
                            kind,
                            ResourceKind::Texture(_) | ResourceKind::StorageTexture(_)
                        )
                }
                Input::Texture {
                    size,
                    layers,
                    levels,
                    ..
                } => {
                    let texels = size.iter().map(|&n| u64::from(n));
                    let texels = texels.fold(u64::from(*layers), u64::saturating_mul);
                    if texels == 0 || texels > 1 << 24 || !(1..=24).contains(levels) {
                        return Err(Error::Usage(format!(
                            "'{name}' of {size:?} texels, {layers} layers and {levels} levels is none that the sanitizer takes"
                        )));
                    }
                    matches!(
                        resource.kind,
                        ResourceKind::Texture(_) | ResourceKind::StorageTexture(_)
                    )
                }
                Input::Sampler => resource.kind == ResourceKind::Sampler,
            };
            if !fits {
                let kind = resource.kind;
                return Err(Error::Usage(format!(
                    "'{name}' is a {kind:?}, its input is not"
                )));
            }
        }
        let count: u64 = workgroups.iter().map(|&n| u64::from(n)).product();
        if count > 1 << 24 {
            return Err(Error::Usage(format!(
                "{count} workgroups are more than the sanitizer runs"
            )));
        }
        let size: u32 = self.code.workgroup_size.iter().product();
        if size == 0 || size > 4096 {
            return Err(Error::Usage(format!(
                "{}: a workgroup of {size} invocations",
                self.entry
            )));
        }
        let sizes = &options.subgroup_sizes;
        if options.orders.is_empty() || self.code.subgroups && sizes.is_empty() {
            return Err(Error::Usage(format!(
                "{}: without an order, or a size of subgroups, nothing would be run",
                self.entry
            )));
        }
        if let Some(size) = sizes.iter().find(|s| !(1..=128).contains(*s)) {
            return Err(Error::field(
                "subgroup_sizes",
                format!("{size}: subgroups have 1 to 128 lanes"),
            ));
        }
        Ok(())
    }

    fn machine<'a>(
        &'a self,
        inputs: &[Input],
        workgroups: [u32; 3],
        (subgroup_size, options): (u32, &Options),
        log: &'a mut Log,
    ) -> Machine<'a> {
        let mut buffers = Vec::new();
        let mut images = Vec::new();
        let variables = self.code.variables.iter();
        let bound = variables.filter(|v| !matches!(v.place, Place::Workgroup(_)));
        for ((variable, resource), input) in bound.zip(&self.resources).zip(inputs) {
            let writes = matches!(
                resource.kind,
                ResourceKind::ReadWrite | ResourceKind::StorageTexture(_)
            );
            match input {
                Input::Buffer {
                    written,
                    bytes,
                    padded,
                } => {
                    let padded = (*padded).max(*bytes) as u32;
                    let mut memory = Memory::new(padded, variable.granule, writes, NEVER);
                    memory.fill(written);
                    memory.declared = *bytes as u32;
                    buffers.push(memory);
                }
                Input::Texture {
                    size,
                    layers,
                    levels,
                    texels,
                } => {
                    let mut image = Image::new(*size, *layers, *levels, writes, NEVER);
                    let bytes: Vec<u8> = texels.iter().flat_map(|w| w.to_le_bytes()).collect();
                    image.texels.fill(&bytes);
                    images.push(image);
                }
                Input::Sampler => {}
            }
        }
        Machine {
            code: &self.code,
            buffers,
            images,
            log,
            counts: Counts::default(),
            workgroups,
            subgroup_size,
            zeroed: options.zeroed_workgroup_memory,
            most_steps: options.most_steps,
            idle: 0,
            progress: 0,
            ended: false,
        }
    }

    /// The name of a buffer, and whether it holds floats.
    fn buffer_name(&self, number: usize) -> (String, bool) {
        let place = Place::Buffer(number as u32);
        let variables = self.code.variables.iter();
        let bound = variables.filter(|v| !matches!(v.place, Place::Workgroup(_)));
        let mut found = bound.zip(&self.resources).filter(|(v, _)| v.place == place);
        let found = found.next().map(|(v, r)| (v.name.clone(), r.float));
        found.unwrap_or_default()
    }

    /// Which instruction wrote each word of each resource.
    fn writers(&self, machine: &Machine<'_>) -> Writers {
        let variables = self.code.variables.iter();
        let bound = variables.filter(|v| !matches!(v.place, Place::Workgroup(_)));
        bound
            .map(|variable| match variable.place {
                Place::Buffer(i) => machine.buffers[i as usize].writers(),
                Place::Image(i) => machine.images[i as usize].texels.writers(),
                _ => Vec::new(),
            })
            .collect()
    }

    /// The bytes of what the shader writes, one an input.
    fn outputs(&self, machine: &Machine<'_>) -> Vec<Option<Vec<u8>>> {
        let variables = self.code.variables.iter();
        let bound = variables.filter(|v| !matches!(v.place, Place::Workgroup(_)));
        let of =
            |(variable, resource): (&Variable, &Resource)| match (variable.place, resource.kind) {
                (Place::Buffer(i), ResourceKind::ReadWrite) => {
                    Some(machine.buffers[i as usize].to_bytes())
                }
                (Place::Image(i), ResourceKind::StorageTexture(_)) => {
                    Some(machine.images[i as usize].texels.to_bytes())
                }
                _ => None,
            };
        bound.zip(&self.resources).map(of).collect()
    }
}

fn count(machine: &Machine<'_>) -> Counts {
    let mut counts = machine.counts;
    for buffer in &machine.buffers {
        let (read, written) = buffer.distinct();
        counts.distinct_read += read;
        counts.distinct_written += written;
    }
    for image in &machine.images {
        // A texel is marked by its first word.
        counts.distinct_written += 4 * image.texels.distinct().1;
    }
    counts
}

/// Bytes of a buffer at most: each of its cells takes twelve times as many.
const MOST_BYTES: u64 = 128 << 20;

/// An error with what it comes from.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string().trim().to_owned();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// The source without the enabling of subgroups, which naga 30 does not know and does not need; every other character stays where it is.
fn without_subgroups(source: &str) -> String {
    let mut text = source.to_owned();
    let mut from = 0;
    while let Some(at) = text[from..].find("enable").map(|at| from + at) {
        from = at + "enable".len();
        let Some(end) = text[at..].find(';').map(|end| at + end) else {
            break;
        };
        let names: Vec<&str> = text[from..end].split(',').map(str::trim).collect();
        let named = |name: &&str| name.chars().all(|c| c.is_alphanumeric() || c == '_');
        if !names.iter().all(named) || !names.contains(&"subgroups") {
            continue;
        }
        let others: Vec<&str> = names.into_iter().filter(|n| *n != "subgroups").collect();
        let kept = match others.is_empty() {
            true => String::new(),
            false => format!("enable {};", others.join(", ")),
        };
        let directive = &text[at..=end];
        let blank = |c: char| if c == '\n' { c } else { ' ' };
        let rest = directive.chars().skip(kept.len()).map(blank);
        let replaced: String = kept.chars().chain(rest).collect();
        text.replace_range(at..=end, &replaced);
    }
    text
}

fn entry_point(module: &Module, name: Option<&str>) -> std::result::Result<String, String> {
    let compute = module
        .entry_points
        .iter()
        .filter(|e| e.stage == naga::ShaderStage::Compute);
    let names: Vec<&str> = compute.map(|e| e.name.as_str()).collect();
    match (name, names.as_slice()) {
        (Some(name), names) if names.contains(&name) => Ok(name.to_owned()),
        (None, [only]) => Ok((*only).to_owned()),
        (_, []) => Err("there is no compute shader".to_owned()),
        (Some(name), names) => Err(format!(
            "there is no compute shader '{name}', there are {}",
            names.join(", ")
        )),
        (None, names) => Err(format!(
            "there are several compute shaders, one of which must be named: {}",
            names.join(", ")
        )),
    }
}
