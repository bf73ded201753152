//! What a baked program that somebody hands in must be, before anything is made of it.

use super::{Baked, Bound, Buffer, Dispatch, FORMAT, Fill, Shader};
use crate::error::{Error, Result};
use crate::kernels::{
    CONTROL_FLOATS, Grid, RING_COLUMNS, RING_ROWS, SCHEDULE_COLUMNS, STATE_WORDS, TABLE_ROWS,
};

fn wrong<T>(why: String) -> Result<T> {
    Err(Error::Usage(format!("baked program: {why}")))
}

impl Baked {
    /// Refuses what does not hang together: positions that are not there, ranges beyond their buffers, buffers beyond their slots.
    ///
    /// # Errors
    /// Naming what is wrong.
    pub fn check(&self) -> Result<()> {
        if self.format != FORMAT {
            return wrong(format!(
                "format {}, this version of wgen reads {FORMAT}",
                self.format
            ));
        }
        self.store.layout()?;
        for (i, shader) in self.shaders.iter().enumerate() {
            if shader.uniform as usize != shader.bindings.len() {
                return wrong(format!(
                    "shader {i}, {}: the uniform is binding {}, behind {} others",
                    shader.name,
                    shader.uniform,
                    shader.bindings.len()
                ));
            }
        }
        for (i, buffer) in self.buffers.iter().enumerate() {
            self.check_buffer(buffer)
                .or_else(|why| wrong(format!("buffer {i}: {why}")))?;
        }
        for (i, dispatch) in self.dispatches.iter().enumerate() {
            self.check_dispatch(dispatch)
                .or_else(|why| wrong(format!("dispatch {i}, {}: {why}", dispatch.family)))?;
        }
        let missing = self.outputs.iter().find(|o| o.buffer >= self.buffers.len());
        if let Some(output) = missing {
            return wrong(format!("output '{}' has no buffer", output.name));
        }
        for output in &self.outputs {
            let (own, room) = (&output.shape, &self.buffers[output.buffer].shape);
            if own.count() != room.count() {
                let name = &output.name;
                return wrong(format!(
                    "output '{name}' is {own:?} in a buffer of {room:?}"
                ));
            }
        }
        if self.dispatches.is_empty() || self.update > self.dispatches.len() {
            return wrong(format!(
                "{} dispatches, the update from {} on",
                self.dispatches.len(),
                self.update
            ));
        }
        Ok(())
    }

    fn check_buffer(&self, buffer: &Buffer) -> Result<(), String> {
        let count = buffer.shape.count();
        let shape = buffer.shape.check("buffer");
        shape.map_err(|e| e.to_string())?;
        if buffer.bytes != buffer.dtype.bytes(count) {
            return Err(format!(
                "{:?} of {} in {} bytes",
                buffer.shape,
                buffer.dtype.name(),
                buffer.bytes
            ));
        }
        let tensor = |at: usize| self.store.tensors.get(at).map(|t| t.count);
        let wanted = match &buffer.fill {
            Fill::Transient { slot: None } | Fill::Output { .. } => return Ok(()),
            Fill::Transient { slot: Some(slot) } => {
                return match self.slots.get(*slot) {
                    Some(&bytes) if bytes >= buffer.bytes => Ok(()),
                    size => Err(format!("{} bytes in slot {slot} {size:?}", buffer.bytes)),
                };
            }
            Fill::Input { words, .. } => match words {
                Some(words) if 4 * words.len() as u64 != buffer.bytes => {
                    return Err(format!("{} words in {} bytes", words.len(), buffer.bytes));
                }
                _ => return Ok(()),
            },
            Fill::Parameter { tensor: at } | Fill::Gradient { tensor: at } => tensor(*at),
            Fill::Segment { segment, .. } => self.store.segments.get(*segment).map(|s| s.count),
            Fill::State => Some(STATE_WORDS),
            Fill::Schedule => Some(SCHEDULE_COLUMNS),
            Fill::Table => Some(TABLE_ROWS * SCHEDULE_COLUMNS),
            Fill::Control => Some(CONTROL_FLOATS),
            Fill::Ring => Some(RING_ROWS * RING_COLUMNS),
        };
        if wanted == Some(count) {
            return Ok(());
        }
        Err(format!("{count} elements of {:?}", buffer.fill))
    }

    fn check_dispatch(&self, dispatch: &Dispatch) -> Result<(), String> {
        let Some(shader) = self.shaders.get(dispatch.shader) else {
            return Err(format!("there is no shader {}", dispatch.shader));
        };
        dispatch.check_against(shader)?;
        for bound in &dispatch.bindings {
            let Some(buffer) = self.buffers.get(bound.buffer) else {
                return Err(format!("there is no buffer {}", bound.buffer));
            };
            if !bound.fits(buffer.shape.count()) {
                return Err(format!("{bound:?} of {:?}", buffer.shape));
            }
            if buffer.fill == (Fill::Transient { slot: None }) {
                return Err(format!("buffer {} has no slot", bound.buffer));
            }
        }
        Ok(())
    }
}

impl Dispatch {
    /// Whether it can be a dispatch of `shader`.
    fn check_against(&self, shader: &Shader) -> Result<(), String> {
        let (has, wants) = (self.bindings.len(), shader.bindings.len());
        if has != wants {
            return Err(format!("binds {has} of {wants} buffers"));
        }
        let words = self.params.len();
        if words == 0 || !words.is_multiple_of(4) {
            return Err(format!("{words} parameter words are no rows of four"));
        }
        let named = match self.grid {
            Grid::Whole => 0,
            Grid::Line { first } => first,
            Grid::Box { first_y, first_z } => first_y.max(first_z),
        };
        if named >= words {
            return Err(format!("parameter word {named} of {words}"));
        }
        Ok(())
    }
}

impl Bound {
    fn fits(&self, count: usize) -> bool {
        self.first
            .checked_add(self.count)
            .is_some_and(|end| end <= count)
    }
}
