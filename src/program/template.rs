//! WGSL templates, from which each kernel's source is expanded: `minijinja` with line statements, so that a directive is a comment to
//! every editor.
//!
//! ```
//! use wgen::kernels::{Kernel, cast::Cast};
//! use wgen::program::template::Templates;
//! use wgen::tensor::DType;
//!
//! let mut templates = Templates::embedded();
//! let launch = Cast { count: 100, from: DType::U8, to: DType::F32 }.launch();
//! assert!(templates.expand(&launch)?.contains("fn convert("));
//!
//! // The same launch of a template of one's own.
//! templates.set("cast", "//# if from == 'u8'\n// from bytes to ${ to }\n//# endif");
//! assert_eq!(templates.expand(&launch)?, "// from bytes to f32\n");
//! # Ok::<(), wgen::Error>(())
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};

use crate::error::{Error, Result};
use crate::kernels::Launch;

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../shaders/", $name, ".wgsl")))),*]
    };
}

/// Every template, by its path in `shaders/` without the ending.
const EMBEDDED: &[(&str, &str)] = embedded![
    "adam",
    "advance",
    "attention",
    "camera_rays",
    "cast",
    "ceiling",
    "composite",
    "concat",
    "conv2d",
    "commit",
    "ema",
    "frequency_encode",
    "gather",
    "group_norm",
    "guard",
    "hash_encoding",
    "map",
    "march",
    "marching_cubes",
    "matmul",
    "occupancy",
    "pool",
    "predict_x0",
    "present",
    "q_sample",
    "quantile",
    "ray_budget",
    "ray_of",
    "rearrange",
    "reduce",
    "reparameterize",
    "resize",
    "reverse_step",
    "rmsprop",
    "sample_pdf",
    "scan",
    "scatter_add",
    "sgd",
    "spherical_harmonics",
    "timestep_embedding",
    "top_k",
    "shared/across_k",
    "shared/along_k",
    "shared/bindings",
    "shared/cooperative",
    "shared/divide",
    "shared/finish",
    "shared/fixed_point",
    "shared/four_normals",
    "shared/functions",
    "shared/hash_grid",
    "shared/lens",
    "shared/moving",
    "shared/mul_wide",
    "shared/noise",
    "shared/noise_terms",
    "shared/normal",
    "shared/operands",
    "shared/philox",
    "shared/plain",
    "shared/product",
    "shared/sine",
    "shared/tiles",
    "shared/update",
];

/// Every template that has entry points, by stem: the kernel families.
pub fn families() -> impl Iterator<Item = &'static str> {
    EMBEDDED
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !name.starts_with("shared/"))
}

/// A set of templates that can be expanded.
#[derive(Clone, Debug)]
pub struct Templates {
    sources: BTreeMap<String, Cow<'static, str>>,
    environment: Environment<'static>,
}

impl Templates {
    /// The templates of this library.
    pub fn embedded() -> Self {
        let sources: BTreeMap<String, Cow<'static, str>> = EMBEDDED
            .iter()
            .map(|(name, source)| ((*name).to_owned(), Cow::Borrowed(*source)))
            .collect();
        let mut templates = Self {
            environment: Environment::empty(),
            sources,
        };
        templates.rebuild();
        templates
    }

    /// Adds a template, or replaces one.
    pub fn set(&mut self, name: &str, source: &str) {
        self.sources
            .insert(name.to_owned(), Cow::Owned(source.to_owned()));
        self.rebuild();
    }

    /// The source of a template.
    pub fn source(&self, name: &str) -> Option<&str> {
        self.sources.get(name).map(AsRef::as_ref)
    }

    /// The names of all templates.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }

    fn rebuild(&mut self) {
        let mut environment = Environment::new();
        // Block and comment delimiters are ones that WGSL cannot contain: the defaults meet `%` and `{{`.
        let syntax = SyntaxConfig::builder()
            .block_delimiters("<%@", "@%>")
            .variable_delimiters("${", "}")
            .comment_delimiters("<#@", "@#>")
            .line_statement_prefix("//#")
            .build();
        if let Ok(syntax) = syntax {
            environment.set_syntax(syntax);
        }
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        let sources = self.sources.clone();
        environment.set_loader(move |name| {
            let stem = name.strip_suffix(".wgsl").unwrap_or(name);
            Ok(sources.get(stem).map(|s| s.clone().into_owned()))
        });
        self.environment = environment;
    }

    /// The WGSL of a kernel: its template with the launch's variables.
    ///
    /// # Errors
    /// When there is no such template, or it uses a variable that the launch does not give.
    pub fn expand(&self, launch: &Launch) -> Result<String> {
        let fail = |e: minijinja::Error| {
            let message = match e.kind() {
                ErrorKind::TemplateNotFound => "there is no such template".to_owned(),
                _ => format!("{e:#}"),
            };
            Error::Shader {
                name: launch.template.to_owned(),
                message,
            }
        };
        let template = self
            .environment
            .get_template(launch.template)
            .map_err(fail)?;
        let text = template
            .render(minijinja::value::Serde(&launch.context))
            .map_err(fail)?;
        let enable = match (launch.is_half(), launch.is_cooperative()) {
            (false, _) => "",
            (true, false) => "enable f16;\n\n",
            (true, true) => "enable f16;\nenable wgpu_cooperative_matrix;\n\n",
        };
        Ok(tidy(&format!("{enable}{text}")))
    }
}

/// At most one empty line in a row, none at the ends, no blanks at line ends: an expanded kernel reads like a written one.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut blank = true;
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() && blank {
            continue;
        }
        blank = line.is_empty();
        out.push_str(line);
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}
