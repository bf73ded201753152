//! Storage textures: what kernels write pixels into, and render passes sample.

use super::Gpu;
use super::buffer::begin_map;
use crate::error::{Error, Result};
use crate::kernels::Texel;

impl Texel {
    /// wgpu's name of the format.
    pub fn format(self) -> wgpu::TextureFormat {
        match self {
            Self::Rgba8Unorm => wgpu::TextureFormat::Rgba8Unorm,
            Self::Rgba16Float => wgpu::TextureFormat::Rgba16Float,
            Self::Rgba32Float => wgpu::TextureFormat::Rgba32Float,
        }
    }

    /// The texel of a format that kernels can write.
    ///
    /// # Errors
    /// For every other format.
    pub fn of(format: wgpu::TextureFormat) -> Result<Self> {
        [Self::Rgba8Unorm, Self::Rgba16Float, Self::Rgba32Float]
            .into_iter()
            .find(|t| t.format() == format)
            .ok_or_else(|| {
                Error::Usage(format!(
                    "a texture of format {format:?} cannot be written by a kernel; Rgba8Unorm, Rgba16Float and Rgba32Float can"
                ))
            })
    }
}

impl Gpu {
    /// A texture for kernels to write and render passes to sample.
    ///
    /// # Errors
    /// When it is above a limit, or memory is exhausted.
    pub fn create_texture(
        &self,
        label: &str,
        width: u32,
        height: u32,
        texel: Texel,
    ) -> Result<wgpu::Texture> {
        let bytes = u64::from(width) * u64::from(height) * texel.bytes() as u64;
        self.scoped(label, bytes, || {
            self.device().create_texture(&wgpu::TextureDescriptor {
                label: Some(label),
                size: wgpu::Extent3d {
                    width,
                    height,
                    depth_or_array_layers: 1,
                },
                mip_level_count: 1,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format: texel.format(),
                usage: wgpu::TextureUsages::STORAGE_BINDING
                    | wgpu::TextureUsages::TEXTURE_BINDING
                    | wgpu::TextureUsages::COPY_SRC
                    | wgpu::TextureUsages::COPY_DST,
                view_formats: &[],
            })
        })
    }

    /// The raw texels of a texture, row by row without padding; waits for them.
    ///
    /// # Errors
    /// When memory is exhausted or the device lost, or the texture cannot be copied from.
    pub fn read_texture(&self, texture: &wgpu::Texture) -> Result<Vec<u8>> {
        let texel = texture.format().block_copy_size(None).ok_or_else(|| {
            Error::Usage(format!(
                "a texture of format {:?} has no one copy size",
                texture.format()
            ))
        })?;
        let (width, height) = (texture.width(), texture.height());
        let row = width * texel;
        let padded = row.next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
        let bytes = u64::from(padded) * u64::from(height);
        let readback = begin_map(self, bytes, vec![bytes], |encoder, staging| {
            encoder.copy_texture_to_buffer(
                texture.as_image_copy(),
                wgpu::TexelCopyBufferInfo {
                    buffer: staging,
                    layout: wgpu::TexelCopyBufferLayout {
                        offset: 0,
                        bytes_per_row: Some(padded),
                        rows_per_image: None,
                    },
                },
                texture.size(),
            );
        })?;
        let all = readback.wait()?.remove(0);
        Ok(all
            .chunks_exact(padded as usize)
            .flat_map(|r| &r[..row as usize])
            .copied()
            .collect())
    }
}
