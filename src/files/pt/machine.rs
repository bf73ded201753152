//! The machine that runs a pickle: a stack, marks in it, and a memo of what may be used again, as in Python's pickle.py. What it does not know
//! it refuses by name; what it knows makes values and has no other effect.

use std::io::Read;

use super::input::Input;
use super::objects::{Global, Objects, Storage, Tensor, Value, push};
use super::{Budget, Checked, LONGEST_NAME, opcodes as op, shown, wrong};

/// What begins the first pickle of a row of them, as LONG1 has it.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Runs the pickle that `input` has next, up to its end.
///
/// # Errors
/// When it is cut short, takes what is not there, or asks for what is refused.
pub(super) fn run<R: Read>(input: &mut Input<R>, budget: &mut Budget) -> Checked<(Objects, Value)> {
    let mut machine = Machine {
        objects: Objects::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        deepest: [0, 0],
        budget,
    };
    loop {
        let opcode = input.byte()?;
        if opcode == op::STOP {
            let root = machine.pop()?;
            return Ok((machine.objects, root));
        }
        machine.step(opcode, input)?;
    }
}

struct Machine<'b> {
    objects: Objects,
    stack: Vec<Value>,
    /// Lengths of the stack at its marks.
    marks: Vec<usize>,
    memo: Vec<Option<Value>>,
    /// The most that the stack has held, and how many marks there were at most.
    deepest: [usize; 2],
    budget: &'b mut Budget,
}

impl Machine<'_> {
    fn step<R: Read>(&mut self, opcode: u8, input: &mut Input<R>) -> Checked<()> {
        match opcode {
            op::PROTO => match input.byte()? {
                0..=5 => Ok(()),
                other => wrong(format!("is a pickle of protocol {other}; 2 to 5 are known")),
            },
            // A frame is a hint of how much to read at once.
            op::FRAME => input.array::<8>().map(|_| ()),
            op::NONE => self.push(Value::None),
            op::NEWTRUE => self.push(Value::Bool(true)),
            op::NEWFALSE => self.push(Value::Bool(false)),
            op::BININT | op::BININT1 | op::BININT2 | op::LONG1 | op::BINFLOAT => {
                let number = number(opcode, input)?;
                self.push(number)
            }
            op::BINUNICODE
            | op::SHORT_BINUNICODE
            | op::BINUNICODE8
            | op::BINSTRING
            | op::SHORT_BINSTRING => {
                let n = match opcode {
                    op::SHORT_BINUNICODE | op::SHORT_BINSTRING => u64::from(input.byte()?),
                    op::BINUNICODE8 => u64::from_le_bytes(input.array()?),
                    _ => u64::from(u32::from_le_bytes(input.array()?)),
                };
                self.text(n, input)
            }
            op::MARK => {
                self.marks.push(self.stack.len());
                self.grown()
            }
            op::EMPTY_TUPLE | op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => {
                let n = match opcode {
                    op::EMPTY_TUPLE => 0,
                    _ => usize::from(opcode - op::TUPLE1) + 1,
                };
                let at = self.under(n)?;
                self.tuple(at)
            }
            op::TUPLE => {
                let at = self.mark()?;
                self.tuple(at)
            }
            op::EMPTY_LIST | op::LIST | op::EMPTY_DICT | op::DICT => self.container(opcode),
            op::APPEND | op::APPENDS | op::SETITEM | op::SETITEMS => self.fill(opcode),
            op::BINPUT => self.put(u32::from(input.byte()?), input.taken()),
            op::LONG_BINPUT => self.put(u32::from_le_bytes(input.array()?), input.taken()),
            op::MEMOIZE => self.put(self.memo.len() as u32, input.taken()),
            op::BINGET => self.get(u32::from(input.byte()?)),
            op::LONG_BINGET => self.get(u32::from_le_bytes(input.array()?)),
            op::GLOBAL => {
                let (module, name) = (input.line()?, input.line()?);
                self.push(Value::Global(Global::find(&module, &name)?))
            }
            op::STACK_GLOBAL => {
                let at = self.under(2)?;
                let [Value::Text(module), Value::Text(name)] = self.stack[at..] else {
                    return wrong("asks for a global whose name is no text");
                };
                let found = Global::find(self.objects.text(module), self.objects.text(name))?;
                self.stack.truncate(at);
                self.push(Value::Global(found))
            }
            op::BINPERSID => self.storage(),
            op::REDUCE => self.call(),
            op::BUILD => self.build(),
            other => wrong(format!(
                "has the opcode {}, which is refused: no table of tensors needs it; save model.state_dict() alone, with torch.save or \
                 safetensors.torch.save_file",
                op::name(other)
            )),
        }
    }

    /// Charges for what stack and marks have never held before.
    fn grown(&mut self) -> Checked<()> {
        if self.stack.len() > self.deepest[0] {
            self.deepest[0] = self.stack.len();
            self.budget.charge_items::<Value>(1)?;
        }
        if self.marks.len() > self.deepest[1] {
            self.deepest[1] = self.marks.len();
            self.budget.charge_items::<usize>(1)?;
        }
        Ok(())
    }

    fn push(&mut self, value: Value) -> Checked<()> {
        self.stack.push(value);
        self.grown()
    }

    /// Where the `n` values at the top of the stack begin; they are not beyond a mark.
    fn under(&self, n: usize) -> Checked<usize> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(n) {
            Some(at) if at >= floor => Ok(at),
            _ => wrong("is a damaged pickle: it takes from an empty stack"),
        }
    }

    fn pop(&mut self) -> Checked<Value> {
        let at = self.under(1)?;
        let value = self.stack[at];
        self.stack.truncate(at);
        Ok(value)
    }

    /// Where the values above the last mark begin, which is taken away.
    fn mark(&mut self) -> Checked<usize> {
        match self.marks.pop() {
            Some(at) => Ok(at),
            None => wrong("is a damaged pickle: it goes back to a mark that is not there"),
        }
    }

    fn text<R: Read>(&mut self, n: u64, input: &mut Input<R>) -> Checked<()> {
        input.has(n)?;
        self.budget.charge(n as usize)?;
        let Ok(text) = String::from_utf8(input.bytes(n)?) else {
            return wrong("is a damaged pickle: a text in it is no UTF-8");
        };
        let text = push(&mut self.objects.texts, text.into(), self.budget)?;
        self.push(Value::Text(text))
    }

    fn tuple(&mut self, at: usize) -> Checked<()> {
        self.budget.charge(size_of_val(&self.stack[at..]))?;
        let items = Box::from(&self.stack[at..]);
        self.stack.truncate(at);
        let tuple = push(&mut self.objects.tuples, items, self.budget)?;
        self.push(Value::Tuple(tuple))
    }

    fn container(&mut self, opcode: u8) -> Checked<()> {
        let fill = match opcode {
            op::LIST => Some(op::APPENDS),
            op::DICT => Some(op::SETITEMS),
            _ => None,
        };
        let made = match opcode {
            op::EMPTY_LIST | op::LIST => {
                Value::List(push(&mut self.objects.lists, Vec::new(), self.budget)?)
            }
            _ => Value::Dict(push(&mut self.objects.dicts, Vec::new(), self.budget)?),
        };
        let Some(fill) = fill else {
            return self.push(made);
        };
        // Under its mark, where what fills a container looks for it.
        let Some(at) = self.marks.last_mut() else {
            return wrong("is a damaged pickle: it goes back to a mark that is not there");
        };
        self.stack.insert(*at, made);
        *at += 1;
        self.grown()?;
        self.fill(fill)
    }

    /// Moves what is at the top of the stack into the list or dictionary below it.
    fn fill(&mut self, opcode: u8) -> Checked<()> {
        let at = match opcode {
            op::APPEND => self.under(1)?,
            op::SETITEM => self.under(2)?,
            _ => self.mark()?,
        };
        let floor = self.marks.last().copied().unwrap_or(0);
        let target = (at > floor).then(|| self.stack[at - 1]);
        let items = &self.stack[at..];
        match (opcode, target) {
            (op::APPEND | op::APPENDS, Some(Value::List(list))) => {
                self.budget.charge_items::<Value>(items.len())?;
                self.objects.lists[list as usize].extend_from_slice(items);
            }
            (op::SETITEM | op::SETITEMS, Some(Value::Dict(dict))) => {
                let (pairs, []) = items.as_chunks::<2>() else {
                    return wrong(
                        "is a damaged pickle: a dictionary is given a key without a value",
                    );
                };
                self.budget.charge_items::<(Value, Value)>(pairs.len())?;
                let pairs = pairs.iter().map(|[key, value]| (*key, *value));
                self.objects.dicts[dict as usize].extend(pairs);
            }
            _ => return wrong("is a damaged pickle: it fills what is no list or dictionary"),
        }
        self.stack.truncate(at);
        Ok(())
    }

    /// Remembers the top of the stack. Ids are counted up as a pickle goes on: none is as large as the bytes that came before it.
    fn put(&mut self, id: u32, taken: u64) -> Checked<()> {
        let at = self.under(1)?;
        if u64::from(id) >= taken {
            return wrong(format!(
                "is a damaged pickle: it remembers something as number {id}"
            ));
        }
        let id = id as usize;
        if id >= self.memo.len() {
            let more = id + 1 - self.memo.len();
            self.budget.charge_items::<Option<Value>>(more)?;
            self.memo.resize(id + 1, None);
        }
        self.memo[id] = Some(self.stack[at]);
        Ok(())
    }

    fn get(&mut self, id: u32) -> Checked<()> {
        match self.memo.get(id as usize) {
            Some(Some(value)) => self.push(*value),
            _ => wrong(format!(
                "is a damaged pickle: it asks for what it remembered as number {id}, which is not there"
            )),
        }
    }

    /// `('storage', class, key, location, count)`, in a row of pickles with the view that it is, which PyTorch has not written since 0.4.
    /// The location is where it was: `cuda:0`.
    fn storage(&mut self) -> Checked<()> {
        let Value::Tuple(id) = self.pop()? else {
            return wrong("refers to something that is no storage");
        };
        let (kind, dtype, key, count, view) = match *self.objects.tuple(id) {
            [
                Value::Text(kind),
                Value::Global(Global::Storage(dtype)),
                Value::Text(key),
                _,
                Value::Int(count),
                ref view @ ..,
            ] => (kind, dtype, key, count, view),
            _ => return wrong("refers to something that is no storage"),
        };
        if self.objects.text(kind) != "storage" || self.objects.text(key).len() > LONGEST_NAME {
            return wrong("refers to something that is no storage");
        }
        if !matches!(view, [] | [Value::None]) {
            return wrong(
                "has storages that are views of others, as PyTorch wrote before 0.4; load it and save it with a later one",
            );
        }
        let Ok(count) = u64::try_from(count) else {
            return wrong(format!("has a storage of {count} elements"));
        };
        let storage = Storage { dtype, key, count };
        let storage = push(&mut self.objects.storages, storage, self.budget)?;
        self.push(Value::Storage(storage))
    }

    fn call(&mut self) -> Checked<()> {
        let arguments = self.pop()?;
        let function = self.pop()?;
        let (Value::Global(global), Value::Tuple(arguments)) = (function, arguments) else {
            return wrong("is a damaged pickle: it calls what is no global");
        };
        let arguments = self.objects.tuple(arguments);
        let made = match (global, arguments) {
            (Global::OrderedDict, []) => {
                Value::Dict(push(&mut self.objects.dicts, Vec::new(), self.budget)?)
            }
            (Global::OrderedDict, &[Value::List(list)]) => {
                self.budget
                    .charge_items::<(Value, Value)>(self.objects.lists[list as usize].len())?;
                let pairs = self.objects.pairs(list)?;
                Value::Dict(push(&mut self.objects.dicts, pairs, self.budget)?)
            }
            (Global::RebuildTensor, [_, _, _, _])
            | (Global::RebuildTensorV2, [_, _, _, _, _, _, ..]) => {
                let &[
                    Value::Storage(storage),
                    Value::Int(offset),
                    Value::Tuple(size),
                    Value::Tuple(stride),
                    ..,
                ] = arguments
                else {
                    return wrong("makes a tensor of what is no storage, offset, size and stride");
                };
                let Ok(offset) = u64::try_from(offset) else {
                    return wrong(format!("has a tensor that begins at element {offset}"));
                };
                let tensor = Tensor {
                    storage,
                    offset,
                    size,
                    stride,
                };
                Value::Tensor(push(&mut self.objects.tensors, tensor, self.budget)?)
            }
            (Global::RebuildParameter, &[tensor @ Value::Tensor(_), _, _]) => tensor,
            (Global::Storage(dtype), _) => {
                return wrong(format!(
                    "makes a storage of {dtype:?} without saying where it lies"
                ));
            }
            (global, arguments) => {
                let n = arguments.len();
                return wrong(format!(
                    "calls {global:?} with {n} arguments that are not its own"
                ));
            }
        };
        self.push(made)
    }

    /// Takes away the state of an OrderedDict, where `state_dict` keeps versions of modules (`_metadata`); nothing else has any.
    fn build(&mut self) -> Checked<()> {
        self.pop()?;
        match self.stack[self.under(1)?] {
            Value::Dict(_) => Ok(()),
            other => wrong(format!(
                "gives a state to what has none ({})",
                self.kind(other)
            )),
        }
    }

    /// What a value is, in a message.
    fn kind(&self, value: Value) -> String {
        match value {
            Value::Text(text) => format!("'{}'", shown(self.objects.text(text))),
            other => {
                let name = format!("{other:?}");
                name.split('(').next().unwrap_or_default().to_lowercase()
            }
        }
    }
}

fn number<R: Read>(opcode: u8, input: &mut Input<R>) -> Checked<Value> {
    Ok(match opcode {
        op::BININT => Value::Int(i64::from(i32::from_le_bytes(input.array()?))),
        op::BININT1 => Value::Int(i64::from(input.byte()?)),
        op::BININT2 => Value::Int(i64::from(u16::from_le_bytes(input.array()?))),
        op::BINFLOAT => input.array::<8>().map(|_| Value::Number)?,
        _ => {
            // Little-endian and signed, of as many bytes as it needs.
            let n = input.byte()?;
            let bytes = input.bytes(u64::from(n))?;
            let sign = match bytes.last() {
                Some(last) if last & 0x80 != 0 => 0xff,
                _ => 0,
            };
            let mut whole = [sign; 8];
            match whole.get_mut(..bytes.len()) {
                Some(low) => {
                    low.copy_from_slice(&bytes);
                    Value::Int(i64::from_le_bytes(whole))
                }
                None if bytes == MAGIC => Value::Magic,
                None => Value::Number,
            }
        }
    })
}
