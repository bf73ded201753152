//! A device as wgpu would make it, and pipelines with their statistics.

use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::time::Instant;

use ash::{ext, khr, vk};
use serde_json::{Map, Value, json};

use crate::kernel::{Abilities, Descriptor, Source};

/// A Vulkan device with all that wgpu would ask of it.
pub struct Device {
    device: ash::Device,
    executables: khr::pipeline_executable_properties::Device,
    has: Abilities,
    name: String,
    driver: String,
    entry: ash::Entry,
    instance: ash::Instance,
}

fn text(chars: &[c_char]) -> String {
    let bytes: Vec<u8> = chars
        .iter()
        .take_while(|&&c| c != 0)
        .map(|&c| c as u8)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Device {
    pub fn open() -> Result<Self, String> {
        let fail = |what: &str| {
            let what = what.to_owned();
            move |e: vk::Result| format!("{what}: {e}")
        };
        // SAFETY: the loader is a Vulkan loader; handles live until the process ends, in the order of their making.
        unsafe {
            let entry = ash::Entry::load().map_err(|e| format!("no Vulkan loader: {e}"))?;
            let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let info = vk::InstanceCreateInfo::default().application_info(&application);
            let instance = entry
                .create_instance(&info, None)
                .map_err(fail("instance"))?;
            let all = instance
                .enumerate_physical_devices()
                .map_err(fail("no device"))?;
            let physical = *all.first().ok_or("no device")?;
            let names: Vec<String> = instance
                .enumerate_device_extension_properties(physical)
                .map_err(fail("extensions"))?
                .iter()
                .map(|e| text(&e.extension_name))
                .collect();
            let knows = |name: &CStr| names.iter().any(|n| n.as_bytes() == name.to_bytes());
            let mut subgroup = vk::PhysicalDeviceSubgroupProperties::default();
            let mut driver = vk::PhysicalDeviceDriverProperties::default();
            let mut properties = vk::PhysicalDeviceProperties2::default()
                .push_next(&mut subgroup)
                .push_next(&mut driver);
            instance.get_physical_device_properties2(physical, &mut properties);
            let properties = properties.properties;
            let driver_text = format!(
                "{} {}",
                text(&driver.driver_name),
                text(&driver.driver_info)
            );

            let mut robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
            let mut v11 = vk::PhysicalDeviceVulkan11Features::default();
            let mut v12 = vk::PhysicalDeviceVulkan12Features::default();
            let mut v13 = vk::PhysicalDeviceVulkan13Features::default();
            let mut executable =
                vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default();
            let mut matrix = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
            let mut features = vk::PhysicalDeviceFeatures2::default()
                .push_next(&mut v11)
                .push_next(&mut v12)
                .push_next(&mut executable);
            if properties.api_version >= vk::API_VERSION_1_3 {
                features = features.push_next(&mut v13);
            }
            let has_robustness2 = knows(ext::robustness2::NAME);
            if has_robustness2 {
                features = features.push_next(&mut robustness);
            }
            let has_matrix = knows(khr::cooperative_matrix::NAME);
            if has_matrix {
                features = features.push_next(&mut matrix);
            }
            instance.get_physical_device_features2(physical, &mut features);
            let core = features.features;
            if executable.pipeline_executable_info == 0 {
                return Err(format!(
                    "{driver_text} has no VK_KHR_pipeline_executable_properties"
                ));
            }
            let operations = vk::SubgroupFeatureFlags::BASIC
                | vk::SubgroupFeatureFlags::VOTE
                | vk::SubgroupFeatureFlags::ARITHMETIC
                | vk::SubgroupFeatureFlags::BALLOT
                | vk::SubgroupFeatureFlags::SHUFFLE
                | vk::SubgroupFeatureFlags::SHUFFLE_RELATIVE
                | vk::SubgroupFeatureFlags::QUAD;
            let has = Abilities {
                lang_version: match properties.api_version {
                    v if v >= vk::API_VERSION_1_3 => (1, 6),
                    v if v >= vk::API_VERSION_1_2 => (1, 5),
                    _ => (1, 3),
                },
                // wgpu wants vertex and fragment stages besides for SUBGROUP_VERTEX only.
                subgroup: subgroup.supported_operations.contains(operations)
                    && subgroup
                        .supported_stages
                        .contains(vk::ShaderStageFlags::COMPUTE | vk::ShaderStageFlags::FRAGMENT),
                f16: v12.shader_float16 != 0 && v11.storage_buffer16_bit_access != 0,
                f16_io: v11.storage_input_output16 != 0,
                robust_buffer_access2: robustness.robust_buffer_access2 != 0,
                robust_image_access: v13.robust_image_access != 0
                    || robustness.robust_image_access2 != 0,
                integer_dot_product: v13.shader_integer_dot_product != 0,
                int8: v12.shader_int8 != 0,
                qualcomm: properties.vendor_id == 0x5143,
                cooperative_matrix: matrix.cooperative_matrix != 0,
            };

            let mut extensions = vec![khr::pipeline_executable_properties::NAME.as_ptr()];
            if has_robustness2 {
                extensions.push(ext::robustness2::NAME.as_ptr());
            }
            if has.cooperative_matrix {
                extensions.push(khr::cooperative_matrix::NAME.as_ptr());
            }
            let mut robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default()
                .robust_buffer_access2(has.robust_buffer_access2)
                .robust_image_access2(robustness.robust_image_access2 != 0);
            let mut v11 = vk::PhysicalDeviceVulkan11Features::default()
                .storage_buffer16_bit_access(has.f16)
                .uniform_and_storage_buffer16_bit_access(
                    has.f16 && v11.uniform_and_storage_buffer16_bit_access != 0,
                )
                .storage_input_output16(has.f16 && has.f16_io);
            let mut v12 = vk::PhysicalDeviceVulkan12Features::default()
                .shader_float16(has.f16)
                .shader_int8(has.int8)
                .vulkan_memory_model(v12.vulkan_memory_model != 0)
                .timeline_semaphore(v12.timeline_semaphore != 0);
            let mut v13 = vk::PhysicalDeviceVulkan13Features::default()
                .robust_image_access(v13.robust_image_access != 0)
                .subgroup_size_control(v13.subgroup_size_control != 0)
                .maintenance4(v13.maintenance4 != 0)
                .shader_integer_dot_product(has.integer_dot_product)
                .shader_zero_initialize_workgroup_memory(
                    v13.shader_zero_initialize_workgroup_memory != 0,
                );
            let mut executable =
                vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
                    .pipeline_executable_info(true);
            let mut matrix =
                vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
            let wanted = vk::PhysicalDeviceFeatures::default()
                .robust_buffer_access(core.robust_buffer_access != 0);
            let queues = [vk::DeviceQueueCreateInfo::default()
                .queue_family_index(0)
                .queue_priorities(&[1.0])];
            let mut info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_extension_names(&extensions)
                .enabled_features(&wanted)
                .push_next(&mut v11)
                .push_next(&mut v12)
                .push_next(&mut executable);
            if properties.api_version >= vk::API_VERSION_1_3 {
                info = info.push_next(&mut v13);
            }
            if has_robustness2 {
                info = info.push_next(&mut robustness);
            }
            if has.cooperative_matrix {
                info = info.push_next(&mut matrix);
            }
            let device = instance
                .create_device(physical, &info, None)
                .map_err(fail("device"))?;
            Ok(Self {
                executables: khr::pipeline_executable_properties::Device::new(&instance, &device),
                device,
                has,
                name: text(&properties.device_name),
                driver: driver_text,
                entry,
                instance,
            })
        }
    }

    /// What is said of the device, in each line.
    pub fn names(&self) -> (&str, &str) {
        (&self.name, &self.driver)
    }

    /// Compiles a kernel. With `loops` its hottest loop is looked at, with `isa` all that the driver shows goes to files there.
    pub fn line(&self, path: &Path, loops: bool, isa: Option<&Path>) -> Value {
        let _keep = (&self.entry, &self.instance);
        let mut line = Map::new();
        line.insert("device".to_owned(), json!(self.name));
        line.insert("driver".to_owned(), json!(self.driver));
        if let Err(failure) = self.fill(path, loops, isa, &mut line) {
            line.insert("failure".to_owned(), json!(failure));
        }
        Value::Object(line)
    }

    fn fill(
        &self,
        path: &Path,
        loops: bool,
        isa: Option<&Path>,
        line: &mut Map<String, Value>,
    ) -> Result<(), String> {
        let kernel = Source::read(path)?.spirv(&self.has)?;
        line.insert("invocations".to_owned(), json!(kernel.invocations));
        line.insert("workgroup_bytes".to_owned(), json!(kernel.workgroup_bytes));
        line.insert("spirv_words".to_owned(), json!(kernel.words.len()));
        let entry = CString::new(kernel.entry.as_str()).map_err(|e| e.to_string())?;
        let fail = |what: &'static str| move |e: vk::Result| format!("{what}: {e}");
        let device = &self.device;
        let mut flags = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR;
        if loops || isa.is_some() {
            flags |= vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
        }
        // SAFETY: everything made here is used with the device that made it; what is left over ends with the worker.
        unsafe {
            let info = vk::ShaderModuleCreateInfo::default().code(&kernel.words);
            let module = device
                .create_shader_module(&info, None)
                .map_err(fail("module"))?;
            let bindings: Vec<_> = kernel
                .bindings
                .iter()
                .map(|&(binding, descriptor)| {
                    vk::DescriptorSetLayoutBinding::default()
                        .binding(binding)
                        .descriptor_count(1)
                        .stage_flags(vk::ShaderStageFlags::COMPUTE)
                        .descriptor_type(match descriptor {
                            Descriptor::Storage => vk::DescriptorType::STORAGE_BUFFER,
                            Descriptor::Uniform => vk::DescriptorType::UNIFORM_BUFFER,
                            Descriptor::Image => vk::DescriptorType::STORAGE_IMAGE,
                        })
                })
                .collect();
            let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let set = [device
                .create_descriptor_set_layout(&info, None)
                .map_err(fail("layout"))?];
            let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&set);
            let layout = device
                .create_pipeline_layout(&info, None)
                .map_err(fail("layout"))?;
            let mut stage_flags = vk::PipelineShaderStageCreateFlags::empty();
            if self.has.subgroup {
                stage_flags |= vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE;
            }
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .flags(stage_flags)
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(&entry);
            let info = [vk::ComputePipelineCreateInfo::default()
                .flags(flags)
                .layout(layout)
                .stage(stage)];
            let begin = Instant::now();
            let pipeline = device
                .create_compute_pipelines(vk::PipelineCache::null(), &info, None)
                .map_err(|(_, e)| format!("pipeline: {e}"))?[0];
            let seconds = begin.elapsed().as_secs_f64();
            line.insert("seconds".to_owned(), json!((seconds * 1e4).round() / 1e4));

            let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
            let properties = self
                .executables
                .get_pipeline_executable_properties(&info)
                .map_err(fail("executables"))?;
            for (index, executable) in properties.iter().enumerate() {
                let info = vk::PipelineExecutableInfoKHR::default()
                    .pipeline(pipeline)
                    .executable_index(index as u32);
                line.insert("subgroup".to_owned(), json!(executable.subgroup_size));
                let mut statistics = Map::new();
                for s in self
                    .executables
                    .get_pipeline_executable_statistics(&info)
                    .map_err(fail("statistics"))?
                {
                    let value = match s.format {
                        vk::PipelineExecutableStatisticFormatKHR::BOOL32 => json!(s.value.b32 != 0),
                        vk::PipelineExecutableStatisticFormatKHR::INT64 => json!(s.value.i64),
                        vk::PipelineExecutableStatisticFormatKHR::UINT64 => json!(s.value.u64),
                        _ => json!(s.value.f64),
                    };
                    statistics.insert(text(&s.name), value);
                }
                let key = if index == 0 {
                    "statistics".to_owned()
                } else {
                    format!("statistics{index}")
                };
                line.insert(key, Value::Object(statistics));
                if flags.contains(vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR) {
                    let representations = self
                        .representations(&info)
                        .map_err(fail("representations"))?;
                    if loops && let Some(hottest) = crate::loops::hottest(&representations) {
                        line.insert("loop".to_owned(), hottest);
                    }
                    if let Some(folder) = isa {
                        std::fs::create_dir_all(folder).map_err(|e| e.to_string())?;
                        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                        for (name, dump) in &representations {
                            let name = name.to_lowercase().replace([' ', '/', '(', ')'], "-");
                            let file = folder.join(format!("{stem}.{name}.txt"));
                            std::fs::write(file, dump).map_err(|e| e.to_string())?;
                        }
                    }
                }
            }
            device.destroy_pipeline(pipeline, None);
            device.destroy_pipeline_layout(layout, None);
            device.destroy_descriptor_set_layout(set[0], None);
            device.destroy_shader_module(module, None);
        }
        Ok(())
    }

    /// Two calls: the first asks for sizes, the second for text. (ash 0.38's wrapper does not give the second its memory.)
    unsafe fn representations(
        &self,
        info: &vk::PipelineExecutableInfoKHR<'_>,
    ) -> Result<Vec<(String, String)>, vk::Result> {
        let call = self
            .executables
            .fp()
            .get_pipeline_executable_internal_representations_khr;
        let handle = self.device.handle();
        let mut count = 0;
        // SAFETY: count alone is written.
        unsafe { call(handle, info, &mut count, std::ptr::null_mut()) }.result()?;
        let mut list =
            vec![vk::PipelineExecutableInternalRepresentationKHR::default(); count as usize];
        // SAFETY: `list` has room for `count`; data pointers are null, so that sizes are written.
        unsafe { call(handle, info, &mut count, list.as_mut_ptr()) }.result()?;
        let mut memory: Vec<Vec<u8>> = list.iter().map(|r| vec![0; r.data_size + 1]).collect();
        for (r, bytes) in list.iter_mut().zip(&mut memory) {
            r.p_data = bytes.as_mut_ptr().cast();
        }
        // SAFETY: each has memory of the size that it said.
        unsafe { call(handle, info, &mut count, list.as_mut_ptr()) }.result()?;
        let read = |(r, bytes): (
            &vk::PipelineExecutableInternalRepresentationKHR<'_>,
            &Vec<u8>,
        )| {
            let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
            (
                text(&r.name),
                String::from_utf8_lossy(&bytes[..end]).into_owned(),
            )
        };
        Ok(list.iter().zip(&memory).map(read).collect())
    }
}
