//! What a shader is compiled to: instructions over a frame of words, one frame an invocation, calls inlined. Every value lies in the frame, a word a
//! scalar; pointers are known when it is compiled, but for their indices.

use naga::{
    AtomicFunction, Barrier, CollectiveOperation, Handle, MathFunction, Span, StorageFormat,
    SubgroupOperation,
};

/// A word of a frame.
pub(super) type Reg = u32;

/// No register.
pub(super) const NONE: Reg = u32::MAX;

/// What a word is taken for. An f16 lies in a frame as the f32 of the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Num {
    F32,
    F16,
    I32,
    U32,
    Bool,
}

impl Num {
    pub(super) fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16)
    }

    /// Bytes in memory.
    pub(super) fn width(self) -> u32 {
        match self {
            Self::F16 => 2,
            Self::Bool => 1,
            Self::F32 | Self::I32 | Self::U32 => 4,
        }
    }
}

/// A place in a variable: bytes of memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) constant: u32,
    /// Holds what is added, or [`NONE`].
    pub(super) dynamic: Reg,
}

/// How many elements may be indexed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    Fixed(u32),
    /// Those of an array that ends where its buffer does.
    Runtime {
        variable: u32,
        offset: u32,
    },
}

/// Functions of scalars, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fun {
    Math(MathFunction),
    Negate,
    Not,
    FrexpFraction,
    FrexpExponent,
}

/// How a value is handed on among the lanes of a subgroup.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gather {
    First,
    /// From the lane that the index names.
    Lane,
    Down,
    Up,
    Xor,
    /// From this lane of a quad.
    QuadLane,
    /// From the lane of a quad whose number differs in these bits.
    QuadSwap(u32),
}

/// A matrix in memory, as cooperative loads and stores take it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    pub(super) variable: u32,
    pub(super) at: At,
    pub(super) stride: Reg,
    pub(super) rows: u32,
    pub(super) columns: u32,
    pub(super) row_major: bool,
    pub(super) num: Num,
}

/// Where a texel is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texel {
    pub(super) image: u32,
    pub(super) coordinate: Reg,
    pub(super) dimensions: u32,
    /// Layer, or [`NONE`].
    pub(super) layer: Reg,
    /// Mip level, or [`NONE`].
    pub(super) level: Reg,
    /// Whether the coordinate is signed.
    pub(super) signed: bool,
}

/// How a sampled image is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampling {
    /// The component that is gathered.
    pub(super) gather: Option<u32>,
    pub(super) offset: [i32; 3],
    /// What is compared with depths, or [`NONE`].
    pub(super) reference: Reg,
}

/// An instruction. `to` is where its result goes, `n` the words of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Copy {
        to: Reg,
        from: Reg,
        n: u32,
    },
    Splat {
        to: Reg,
        from: Reg,
        n: u32,
    },
    Apply {
        fun: Fun,
        num: Num,
        to: Reg,
        args: [Reg; 4],
        n: u32,
    },
    Binary {
        op: naga::BinaryOperator,
        num: Num,
        to: Reg,
        a: Reg,
        b: Reg,
        n: u32,
    },
    /// `step` is 0 where one condition chooses for all.
    Select {
        to: Reg,
        condition: Reg,
        step: u32,
        yes: Reg,
        no: Reg,
        n: u32,
    },
    Convert {
        to: Reg,
        from: Reg,
        n: u32,
        was: Num,
        becomes: Num,
    },
    All {
        to: Reg,
        from: Reg,
        n: u32,
    },
    Any {
        to: Reg,
        from: Reg,
        n: u32,
    },
    Dot {
        num: Num,
        to: Reg,
        a: Reg,
        b: Reg,
        n: u32,
    },
    /// `a` is of `inner` columns of `rows`, `b` of `columns` of `inner`.
    MatrixMultiply {
        num: Num,
        to: Reg,
        a: Reg,
        b: Reg,
        rows: u32,
        inner: u32,
        columns: u32,
    },
    Determinant {
        to: Reg,
        from: Reg,
        n: u32,
    },
    Pack {
        fun: MathFunction,
        to: Reg,
        from: Reg,
    },
    Unpack {
        fun: MathFunction,
        to: Reg,
        from: Reg,
    },
    /// `to = before + stride * index`, after the index was held against its limit.
    Index {
        to: Reg,
        before: Reg,
        index: Reg,
        signed: bool,
        limit: Limit,
        stride: u32,
        /// Of which variable in memory, or [`NONE`].
        variable: u32,
    },
    LoadLocal {
        to: Reg,
        base: Reg,
        at: Reg,
        n: u32,
    },
    StoreLocal {
        base: Reg,
        at: Reg,
        from: Reg,
        n: u32,
    },
    Load {
        to: Reg,
        variable: u32,
        at: At,
        n: u32,
        num: Num,
    },
    Store {
        variable: u32,
        at: At,
        from: Reg,
        n: u32,
        num: Num,
    },
    LoadAtomic {
        to: Reg,
        variable: u32,
        at: At,
    },
    StoreAtomic {
        variable: u32,
        at: At,
        from: Reg,
    },
    /// `compare` is a register for an exchange that has one, whose result is two words.
    Atomic {
        fun: AtomicFunction,
        num: Num,
        to: Reg,
        variable: u32,
        at: At,
        value: Reg,
        compare: Reg,
    },
    ArrayLength {
        to: Reg,
        variable: u32,
        offset: u32,
        stride: u32,
    },
    ImageLoad {
        to: Reg,
        texel: Texel,
        n: u32,
    },
    ImageStore {
        texel: Texel,
        from: Reg,
        n: u32,
        num: Num,
    },
    ImageAtomic {
        texel: Texel,
        fun: AtomicFunction,
        num: Num,
        value: Reg,
    },
    ImageSample {
        to: Reg,
        texel: Texel,
        sampling: u32,
        n: u32,
    },
    ImageSize {
        to: Reg,
        image: u32,
        level: Reg,
        n: u32,
    },
    ImageLevels {
        to: Reg,
        image: u32,
    },
    ImageLayers {
        to: Reg,
        image: u32,
    },
    ImageSamples {
        to: Reg,
    },
    Jump {
        to: u32,
    },
    /// Goes on if `condition` holds.
    Unless {
        condition: Reg,
        to: u32,
    },
    /// Jumps where `selector` is `value`.
    Case {
        selector: Reg,
        value: u32,
        to: u32,
    },
    LoopBegin {
        counter: Reg,
    },
    LoopNext {
        counter: Reg,
    },
    Barrier {
        kind: Barrier,
        loops: u32,
    },
    Ballot {
        to: Reg,
        predicate: Reg,
        loops: u32,
    },
    Gather {
        how: Gather,
        to: Reg,
        value: Reg,
        index: Reg,
        n: u32,
        loops: u32,
    },
    Collective {
        op: SubgroupOperation,
        kind: CollectiveOperation,
        num: Num,
        to: Reg,
        value: Reg,
        n: u32,
        loops: u32,
    },
    CooperativeLoad {
        to: Reg,
        tile: u32,
        loops: u32,
    },
    CooperativeStore {
        from: Reg,
        tile: u32,
        loops: u32,
    },
    CooperativeMultiplyAdd {
        to: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
        size: [u32; 3],
        num: Num,
        loops: u32,
    },
    End,
}

/// A run of equal scalars, which lie without a gap in a frame and in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Bytes from the value's begin in memory.
    pub(super) byte: u32,
    /// Words from its begin in a frame.
    pub(super) word: u32,
    pub(super) count: u32,
    pub(super) num: Num,
}

/// A variable in memory.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) place: Place,
    /// Bytes, of what ends in an array of any length all before it.
    pub(super) bytes: u32,
    /// The stride of such an array.
    pub(super) runtime: Option<u32>,
    /// Bytes of its smallest scalar.
    pub(super) granule: u32,
    /// The scalars before that array, and those of each of its elements.
    pub(super) runs: [Vec<Run>; 2],
    /// What its texels are stored as.
    pub(super) format: Option<StorageFormat>,
    pub(super) handle: Handle<naga::GlobalVariable>,
}

/// Where a variable lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Number in a workgroup's memory.
    Workgroup(u32),
    /// Number among buffers.
    Buffer(u32),
    /// Number among images.
    Image(u32),
    Sampler,
}

/// Builtin values, which every frame begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Builtins;

impl Builtins {
    pub(super) const GLOBAL_ID: Reg = 0;
    pub(super) const LOCAL_ID: Reg = 3;
    pub(super) const LOCAL_INDEX: Reg = 6;
    pub(super) const GROUP_ID: Reg = 7;
    pub(super) const GROUPS: Reg = 10;
    pub(super) const GROUP_SIZE: Reg = 13;
    pub(super) const SUBGROUPS: Reg = 16;
    pub(super) const SUBGROUP_ID: Reg = 17;
    pub(super) const SUBGROUP_SIZE: Reg = 18;
    pub(super) const SUBGROUP_LANE: Reg = 19;
    pub(super) const COUNT: u32 = 20;
}

/// A compiled entry point.
#[derive(Clone, Debug, Default)]
pub(super) struct Code {
    pub(super) ops: Vec<Op>,
    /// Where each comes from.
    pub(super) spans: Vec<Span>,
    /// What a frame begins as: builtin values, constants, zeros.
    pub(super) frame: Vec<u32>,
    pub(super) variables: Vec<Variable>,
    /// The counters of the loops around what invocations do together.
    pub(super) loops: Vec<Vec<Reg>>,
    pub(super) tiles: Vec<Tile>,
    pub(super) samplings: Vec<Sampling>,
    pub(super) workgroup_size: [u32; 3],
    /// Whether anything is done by subgroups, or asked of them.
    pub(super) subgroups: bool,
}
