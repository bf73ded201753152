//! The caller's own buffers and textures in a plan.

use super::Plan;
use crate::error::{Error, Result};
use crate::gpu::{BufferSlice, Resource};
use crate::kernels::Texel;
use crate::kernels::present::{Picture, Present};
use crate::program::baked::{Buffer, Fill};
use crate::tensor::DType;

impl Plan {
    /// The memory of an output or input, by name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn buffer(&self, name: &str) -> Result<&BufferSlice> {
        let output = self.baked.output(name).map(|o| o.buffer);
        let found = output.or_else(|| self.baked.input(name));
        found.map(|b| &self.places[b]).ok_or_else(|| {
            Error::Usage(format!(
                "the plan has no output or input '{name}'; it has {}",
                self.names()
            ))
        })
    }

    pub(super) fn names(&self) -> String {
        let outputs = self.baked.outputs.iter().map(|o| o.name.as_str());
        let all = outputs.chain(self.baked.inputs());
        all.collect::<Vec<_>>().join(", ")
    }

    /// Binds the caller's memory to an input or output from the next recording on.
    ///
    /// # Errors
    /// When there is none of that name, or the memory is too small or no storage buffer.
    pub fn bind(&mut self, name: &str, slice: BufferSlice) -> Result<()> {
        let is = |b: &Buffer| match &b.fill {
            Fill::Input { name: n, .. } | Fill::Output { name: n } => n == name,
            _ => false,
        };
        let position = self.baked.buffers.iter().position(is).ok_or_else(|| {
            Error::Usage(format!(
                "the plan has no output or input '{name}'; it has {}",
                self.names()
            ))
        })?;
        let before = std::mem::replace(&mut self.places[position], slice);
        let mut bound = Vec::new();
        for i in 0..self.parts.len() {
            let mut uses = self.baked.dispatches[i].bindings.iter();
            if uses.any(|b| b.buffer == position) {
                match self.bind_dispatch(i, self.parts[i].len()) {
                    Ok(parts) => bound.push((self.parts[i].start, parts)),
                    Err(error) => {
                        self.places[position] = before;
                        return Err(error);
                    }
                }
            }
        }
        // All or nothing: an application that was refused goes on with what it had.
        for (first, parts) in bound {
            for (i, part) in parts.into_iter().enumerate() {
                self.bound[first + i] = part;
            }
        }
        Ok(())
    }

    /// Has each recording also write an output's images into the caller's texture, as `picture` lays them out. The texture needs usage
    /// `STORAGE_BINDING`, a format of [`Texel`] and exactly the grid's size.
    ///
    /// # Errors
    /// When there is no such output, or the texture does not fit.
    pub fn bind_texture(
        &mut self,
        name: &str,
        texture: &wgpu::Texture,
        picture: Picture,
    ) -> Result<()> {
        let output = self.output(name)?.buffer;
        let buffer = &self.baked.buffers[output];
        if buffer.dtype != DType::F32 {
            return Err(Error::shape(
                "present",
                format!(
                    "'{name}' is {:?} of {}, not of f32",
                    buffer.shape,
                    buffer.dtype.name()
                ),
            ));
        }
        let texel = Texel::of(texture.format())?;
        let kernel = Present::new(buffer.shape.count(), picture, texel)?;
        let resources = [
            Resource::Buffer(self.exactly(output)),
            Resource::Texture(texture.clone()),
        ];
        let bound = self.gpu.bind_whole(&kernel, &resources)?;
        self.pictures.retain(|(n, _)| n != name);
        self.pictures.push((name.to_owned(), bound));
        Ok(())
    }
}
