//! What a pickle makes. Objects name each other by number, so that an object that contains itself does no harm, and dropping them is no
//! recursion however deep they are nested.

use super::{Budget, Checked, shown, wrong};
use crate::files::entry::Dtype;

/// A value of a pickle; numbers are places in [`Objects`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// The number that a file of the row of pickles begins with.
    Magic,
    /// A number that no table of tensors needs: a float, or one beyond 64 bits.
    Number,
    Text(u32),
    Tuple(u32),
    List(u32),
    Dict(u32),
    Global(Global),
    Storage(u32),
    Tensor(u32),
}

/// What a pickle may ask for by name. Calling one of them makes a value and runs no code.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    OrderedDict,
    /// The class of a storage.
    Storage(Dtype),
    RebuildTensor,
    RebuildTensorV2,
    RebuildParameter,
}

impl Global {
    /// The one of this name.
    ///
    /// # Errors
    /// When it is another, which is named.
    pub(super) fn find(module: &str, name: &str) -> Checked<Self> {
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensorV2,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "FloatStorage") => Self::Storage(Dtype::F32),
            ("torch", "DoubleStorage") => Self::Storage(Dtype::F64),
            ("torch", "HalfStorage") => Self::Storage(Dtype::F16),
            ("torch", "BFloat16Storage") => Self::Storage(Dtype::BF16),
            ("torch", "LongStorage") => Self::Storage(Dtype::I64),
            ("torch", "IntStorage") => Self::Storage(Dtype::I32),
            ("torch", "ShortStorage") => Self::Storage(Dtype::I16),
            ("torch", "CharStorage") => Self::Storage(Dtype::I8),
            ("torch", "ByteStorage") => Self::Storage(Dtype::U8),
            ("torch", "BoolStorage") => Self::Storage(Dtype::BOOL),
            _ => {
                return wrong(format!(
                    "asks for '{}.{}', which is refused: from PyTorch's files tables of tensors are read and no code is run; save \
                     model.state_dict() alone, with torch.save or safetensors.torch.save_file",
                    shown(module),
                    shown(name)
                ));
            }
        })
    }
}

/// A storage by the pickle's word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage {
    pub(super) dtype: Dtype,
    /// Its name in the container, a text.
    pub(super) key: u32,
    /// Its elements.
    pub(super) count: u64,
}

/// A view into a storage, by the pickle's word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tensor {
    /// Its storage.
    pub(super) storage: u32,
    /// The element of the storage at which it begins.
    pub(super) offset: u64,
    /// A tuple.
    pub(super) size: u32,
    /// A tuple, in elements.
    pub(super) stride: u32,
}

/// All that a pickle has made.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) texts: Vec<Box<str>>,
    pub(super) tuples: Vec<Box<[Value]>>,
    pub(super) lists: Vec<Vec<Value>>,
    /// Keys and values in the order in which they came; of equal keys the last counts.
    pub(super) dicts: Vec<Vec<(Value, Value)>>,
    pub(super) storages: Vec<Storage>,
    pub(super) tensors: Vec<Tensor>,
}

impl Objects {
    pub(super) fn text(&self, index: u32) -> &str {
        &self.texts[index as usize]
    }

    pub(super) fn tuple(&self, index: u32) -> &[Value] {
        &self.tuples[index as usize]
    }

    pub(super) fn dict(&self, index: u32) -> &[(Value, Value)] {
        &self.dicts[index as usize]
    }

    /// The value of a text's key in a dictionary.
    pub(super) fn get(&self, dict: u32, key: &str) -> Option<Value> {
        let own = |value: &Value| matches!(value, Value::Text(t) if self.text(*t) == key);
        let mut pairs = self.dict(dict).iter().rev();
        pairs.find(|(k, _)| own(k)).map(|(_, value)| *value)
    }

    /// What a list holds as keys and values: Python 2 gives an OrderedDict a list of lists of two.
    pub(super) fn pairs(&self, list: u32) -> Checked<Vec<(Value, Value)>> {
        let items = &self.lists[list as usize];
        let mut pairs = Vec::with_capacity(items.len());
        for item in items {
            let item = match *item {
                Value::List(item) => &self.lists[item as usize][..],
                Value::Tuple(item) => self.tuple(item),
                _ => &[],
            };
            let &[key, value] = item else {
                return wrong("makes an OrderedDict of what are no pairs");
            };
            pairs.push((key, value));
        }
        Ok(pairs)
    }
}

/// Puts an object among its kind, and says where it is.
pub(super) fn push<T>(objects: &mut Vec<T>, object: T, budget: &mut Budget) -> Checked<u32> {
    budget.charge_items::<T>(1)?;
    let Ok(index) = u32::try_from(objects.len()) else {
        return wrong("makes more objects than can be counted");
    };
    objects.push(object);
    Ok(index)
}
