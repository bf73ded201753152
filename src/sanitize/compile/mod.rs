//! A validated module as instructions: calls inlined, values in frames, pointers followed to the variables that they are of.

mod constants;
mod expressions;
mod functions;
mod images;
mod pointers;
mod statements;
mod types;

use std::collections::{BTreeSet, HashMap};

use naga::proc::Layouter;
use naga::valid::{FunctionInfo, ModuleInfo};
use naga::{AddressSpace, BuiltIn, Expression, Function, Handle, Module, Span, TypeInner};

use super::code::{At, Builtins, Code, NONE, Num, Op, Place, Reg, Variable};

/// Bytes of a workgroup's variable at most; devices have 16 to 228 KiB for all.
const MOST_WORKGROUP_BYTES: u32 = 1 << 20;

/// Instructions at most: calls are inlined, and calls of calls may be many.
const MOST_OPS: usize = 1 << 22;

/// What was refused, in words.
pub(super) type Refused<T> = Result<T, String>;

/// A value of an expression.
#[derive(Clone, Debug)]
enum Value {
    /// Words of the frame from here on.
    Words(Reg),
    Pointer(Pointer),
    /// An image or a sampler: a variable's number.
    Resource(u32),
}

/// A pointer: the variable that it goes into, and how far.
#[derive(Clone, Copy, Debug)]
struct Pointer {
    root: Root,
    at: At,
}

#[derive(Clone, Copy, Debug)]
enum Root {
    /// Words of the frame; the offset is in words.
    Frame(Reg),
    /// A variable in memory; the offset is in bytes.
    Memory(u32),
}

impl Root {
    /// The pointer to its begin.
    fn begin(self) -> Pointer {
        let at = At {
            constant: 0,
            dynamic: NONE,
        };
        Pointer { root: self, at }
    }
}

/// A function that is being inlined.
struct Inlined<'m> {
    function: &'m Function,
    info: &'m FunctionInfo,
    values: HashMap<Handle<Expression>, Value>,
    locals: HashMap<Handle<naga::LocalVariable>, Reg>,
    arguments: Vec<Value>,
    result: Reg,
    /// Jumps to the end.
    returns: Vec<usize>,
    /// What `break` and `continue` leave, the innermost last.
    exits: Vec<Exits>,
}

/// Jumps out of a loop or a switch.
#[derive(Default)]
struct Exits {
    breaks: Vec<usize>,
    /// `None` of a switch: the loop around it has them.
    continues: Option<Vec<usize>>,
}

struct Compiler<'m> {
    module: &'m Module,
    info: &'m ModuleInfo,
    layouter: Layouter,
    code: Code,
    variables: HashMap<Handle<naga::GlobalVariable>, Value>,
    constants: HashMap<Vec<u32>, Reg>,
    /// The words that constants lie in.
    kept: BTreeSet<Reg>,
    /// The first word of the frame that is free.
    free: Reg,
    /// Where instructions come from that are made now.
    span: Span,
    /// Counters of the loops that are open.
    counters: Vec<Reg>,
    /// Which functions do something together.
    together: Vec<bool>,
}

/// Compiles the entry point `entry` of a module without `override` constants.
pub(super) fn compile(module: &Module, info: &ModuleInfo, entry: &str) -> Refused<Code> {
    let (index, point) = module
        .entry_points
        .iter()
        .enumerate()
        .find(|(_, e)| e.name == entry)
        .ok_or_else(|| format!("there is no entry point '{entry}'"))?;
    let mut layouter = Layouter::default();
    layouter
        .update(module.to_ctx())
        .map_err(|e| format!("a type without a layout: {e}"))?;
    let mut together = Vec::new();
    for (_, function) in module.functions.iter() {
        let does = statements::together(&function.body, &together)
            || statements::cooperates(&function.expressions);
        together.push(does);
    }
    let mut compiler = Compiler {
        module,
        info,
        layouter,
        code: Code {
            frame: vec![0; Builtins::COUNT as usize],
            workgroup_size: point.workgroup_size,
            ..Code::default()
        },
        variables: HashMap::new(),
        constants: HashMap::new(),
        kept: BTreeSet::new(),
        free: Builtins::COUNT,
        span: Span::UNDEFINED,
        counters: Vec::new(),
        together,
    };
    let info_of_entry = info.get_entry_point(index);
    compiler.globals(info_of_entry)?;
    compiler.entry(&point.function, info_of_entry)?;
    compiler.emit(Op::End);
    Ok(compiler.code)
}

impl<'m> Compiler<'m> {
    fn inner(&self, handle: Handle<naga::Type>) -> &'m TypeInner {
        &self.module.types[handle].inner
    }

    fn emit(&mut self, op: Op) -> usize {
        self.code.ops.push(op);
        self.code.spans.push(self.span);
        self.code.ops.len() - 1
    }

    /// Lets the jumps at these instructions go to the next one.
    fn land(&mut self, jumps: &[usize]) {
        let here = self.code.ops.len() as u32;
        for &jump in jumps {
            match &mut self.code.ops[jump] {
                Op::Jump { to } | Op::Unless { to, .. } | Op::Case { to, .. } => *to = here,
                other => unreachable!("{other:?} jumps nowhere"),
            }
        }
    }

    /// `n` words of the frame, which hold anything.
    fn reserve(&mut self, n: u32) -> Reg {
        let mut at = self.free;
        // Over the constants, which lie where the frame ended when they were met.
        while let Some(&constant) = self.kept.range(at..at + n).next_back() {
            at = constant + 1;
        }
        self.free = at + n;
        let length = self.code.frame.len().max(self.free as usize);
        self.code.frame.resize(length, 0);
        at
    }

    /// Gives what was reserved since `begin` back: its words are handed out again.
    fn release(&mut self, begin: Reg) {
        self.free = begin;
    }

    /// Words of the frame that hold these and are never written.
    fn constant(&mut self, words: &[u32]) -> Reg {
        if let Some(&at) = self.constants.get(words) {
            return at;
        }
        let at = self.code.frame.len() as u32;
        self.code.frame.extend(words);
        self.kept.extend(at..at + words.len() as u32);
        self.constants.insert(words.to_vec(), at);
        at
    }

    /// The variables that the entry point uses.
    fn globals(&mut self, info: &FunctionInfo) -> Refused<()> {
        let module = self.module;
        let [mut workgroup, mut buffers, mut images] = [0_u32; 3];
        let next = |n: &mut u32| {
            *n += 1;
            *n - 1
        };
        for (handle, variable) in module.global_variables.iter() {
            if info[handle].is_empty() {
                continue;
            }
            let name = variable.name.clone().unwrap_or_default();
            let place = match (variable.space, self.inner(variable.ty)) {
                (AddressSpace::Private, _) => {
                    let n = self.words(variable.ty)?;
                    let base = self.reserve(n);
                    self.span = module.global_variables.get_span(handle);
                    if let Some(init) = variable.init {
                        let words = self.constant_words(init)?;
                        self.code.frame[base as usize..][..n as usize].copy_from_slice(&words);
                    }
                    let pointer = Value::Pointer(Root::Frame(base).begin());
                    self.variables.insert(handle, pointer);
                    continue;
                }
                (AddressSpace::WorkGroup, _) => Place::Workgroup(next(&mut workgroup)),
                (
                    AddressSpace::Uniform | AddressSpace::Immediate | AddressSpace::Storage { .. },
                    inner,
                ) => {
                    if matches!(inner, TypeInner::BindingArray { .. }) {
                        return Err(format!("arrays of bindings ('{name}')"));
                    }
                    Place::Buffer(next(&mut buffers))
                }
                (AddressSpace::Handle, TypeInner::Image { .. }) => Place::Image(next(&mut images)),
                (AddressSpace::Handle, TypeInner::Sampler { .. }) => Place::Sampler,
                (space, inner) => {
                    let what = match inner {
                        TypeInner::BindingArray { .. } => "an array of bindings".to_owned(),
                        TypeInner::AccelerationStructure { .. } => {
                            "an acceleration structure of rays".to_owned()
                        }
                        _ => format!("a variable of the address space {space:?}"),
                    };
                    return Err(format!("{what} ('{name}')"));
                }
            };
            self.variable(handle, name, place)?;
        }
        Ok(())
    }

    fn variable(
        &mut self,
        handle: Handle<naga::GlobalVariable>,
        name: String,
        place: Place,
    ) -> Refused<()> {
        let ty = self.module.global_variables[handle].ty;
        let number = self.code.variables.len() as u32;
        let in_memory = matches!(place, Place::Workgroup(_) | Place::Buffer(_));
        let (mut bytes, mut runtime, mut granule) = (0, None, 4);
        let mut runs = [Vec::new(), Vec::new()];
        if in_memory {
            (bytes, runtime) = self.extent(ty);
            granule = self.granule(ty)?;
            runs = self.runs_of_variable(ty)?;
        }
        if matches!(place, Place::Workgroup(_)) && bytes > MOST_WORKGROUP_BYTES {
            return Err(format!(
                "workgroup memory of {bytes} bytes ('{name}'), more than {MOST_WORKGROUP_BYTES}"
            ));
        }
        self.code.variables.push(Variable {
            name,
            place,
            bytes,
            runtime,
            granule,
            runs,
            format: match self.inner(ty) {
                TypeInner::Image {
                    class: naga::ImageClass::Storage { format, .. },
                    ..
                } => Some(*format),
                _ => None,
            },
            handle,
        });
        let value = if in_memory {
            Value::Pointer(Root::Memory(number).begin())
        } else {
            Value::Resource(number)
        };
        self.variables.insert(handle, value);
        Ok(())
    }

    fn entry(&mut self, function: &'m Function, info: &'m FunctionInfo) -> Refused<()> {
        let mut arguments = Vec::new();
        for argument in &function.arguments {
            let value = match &argument.binding {
                Some(binding) => self.builtin(binding)?,
                None => {
                    let TypeInner::Struct { members, .. } = self.inner(argument.ty) else {
                        return Err("an argument of the entry point without a meaning".to_owned());
                    };
                    let n = self.words(argument.ty)?;
                    let to = self.reserve(n);
                    let mut at = to;
                    for member in members {
                        let binding = member.binding.as_ref().ok_or(
                            "a member without a meaning among the entry point's arguments",
                        )?;
                        let from = self.builtin(binding)?;
                        let n = self.words(member.ty)?;
                        self.emit(Op::Copy { to: at, from, n });
                        at += n;
                    }
                    to
                }
            };
            arguments.push(Value::Words(value));
        }
        let mut inlined = Inlined::new(function, info, arguments, NONE);
        self.inline(&mut inlined)
    }

    fn builtin(&mut self, binding: &naga::Binding) -> Refused<Reg> {
        let naga::Binding::BuiltIn(builtin) = binding else {
            return Err("an argument of the entry point that is no builtin value".to_owned());
        };
        let at = match builtin {
            BuiltIn::GlobalInvocationId => Builtins::GLOBAL_ID,
            BuiltIn::LocalInvocationId => Builtins::LOCAL_ID,
            BuiltIn::LocalInvocationIndex => Builtins::LOCAL_INDEX,
            BuiltIn::WorkGroupId => Builtins::GROUP_ID,
            BuiltIn::NumWorkGroups => Builtins::GROUPS,
            BuiltIn::WorkGroupSize => Builtins::GROUP_SIZE,
            BuiltIn::NumSubgroups => Builtins::SUBGROUPS,
            BuiltIn::SubgroupId => Builtins::SUBGROUP_ID,
            BuiltIn::SubgroupSize => Builtins::SUBGROUP_SIZE,
            BuiltIn::SubgroupInvocationId => Builtins::SUBGROUP_LANE,
            other => return Err(format!("the builtin value {other:?}")),
        };
        self.code.subgroups |= at >= Builtins::SUBGROUPS;
        Ok(at)
    }

    /// Compiles a function's body where it is called.
    fn inline(&mut self, inlined: &mut Inlined<'m>) -> Refused<()> {
        let begin = self.free;
        for (handle, local) in inlined.function.local_variables.iter() {
            let n = self.words(local.ty)?;
            let at = self.reserve(n);
            inlined.locals.insert(handle, at);
            self.span = inlined.function.local_variables.get_span(handle);
            let from = match local.init {
                Some(init) => {
                    let Value::Words(from) = self.value(inlined, init)? else {
                        return Err("a variable that holds a pointer".to_owned());
                    };
                    from
                }
                None => self.zeros(n),
            };
            self.emit(Op::Copy { to: at, from, n });
        }
        self.block(inlined, &inlined.function.body)?;
        let returns = std::mem::take(&mut inlined.returns);
        self.land(&returns);
        self.release(begin);
        Ok(())
    }

    fn zeros(&mut self, n: u32) -> Reg {
        self.constant(&vec![0; n as usize])
    }

    fn words_of(&self, inlined: &Inlined<'m>, handle: Handle<Expression>) -> Refused<u32> {
        self.words_of_inner(self.type_of(inlined, handle))
    }

    fn type_of<'a>(&'a self, inlined: &Inlined<'m>, handle: Handle<Expression>) -> &'a TypeInner
    where
        'm: 'a,
    {
        inlined.info[handle].ty.inner_with(&self.module.types)
    }

    /// What a value's scalars are; of a struct or an array its first's.
    fn num_of(&self, inlined: &Inlined<'m>, handle: Handle<Expression>) -> Refused<Num> {
        self.num_of_inner(self.type_of(inlined, handle))
    }
}

impl<'m> Inlined<'m> {
    fn new(
        function: &'m Function,
        info: &'m FunctionInfo,
        arguments: Vec<Value>,
        result: Reg,
    ) -> Self {
        Self {
            function,
            info,
            values: HashMap::new(),
            locals: HashMap::new(),
            arguments,
            result,
            returns: Vec::new(),
            exits: Vec::new(),
        }
    }
}
