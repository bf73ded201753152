//! The command line: arguments in, calls to the library, messages out. No mathematics here.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::error::Result;
use crate::gpu::Choice;

mod bar;
mod bench;
mod common;
mod convert;
mod data;
mod demo;
mod demo_nerf;
mod encode;
mod eval;
mod flags;
mod info;
mod inpainting;
mod interpolate;
mod low_res;
mod measuring;
mod mesh;
mod models;
mod outputs;
mod pictures;
mod posed;
mod previews;
mod progress;
mod reading;
mod reconstruct;
mod render;
mod resume;
mod reverse;
mod said;
mod sample;
mod samplers;
mod sampling;
mod sanitize;
mod sanitized;
mod scene;
mod shaders;
mod signals;
mod train;
mod training;
mod verify;
mod views;

use common::{Output, check_said, plain};

/// Generative models, trained and sampled by hand-written WGSL compute kernels on any GPU.
#[derive(Debug, Parser)]
#[command(name = "wgen", version, about)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
struct Global {
    /// auto, cpu, or the index or part of the name of an adapter in `wgen info`
    #[arg(long, global = true, default_value = "auto")]
    device: Choice,
    /// Machine-readable output on stdout; everything else goes to stderr
    #[arg(long, global = true)]
    json: bool,
    /// Say more; twice for still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say only what failed
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Adapters, limits, features, and which one would be used and why
    Info(info::Arguments),
    /// Every kernel and model against the CPU, on this adapter
    Verify(verify::Arguments),
    /// Kernels and steps of the models against what this adapter can do at most
    Bench(bench::Arguments),
    /// What a data set holds, and what a model would see of it
    Data(data::Arguments),
    /// What is wrong with posed pictures: where cameras are and look, what box and scale fit
    Scene(scene::Arguments),
    /// Train a model
    Train(train::Arguments),
    /// Draw samples from a trained model
    Sample(sampling::SampleArguments),
    /// Inputs and what the model makes of them
    Reconstruct(reconstruct::Arguments),
    /// Views and depth of a trained radiance field
    Render(render::Arguments),
    /// The surface of a trained radiance field as a mesh with colours
    Mesh(mesh::Arguments),
    /// From one input to another through latent space
    Interpolate(interpolate::Arguments),
    /// Codes of a data set as safetensors
    Encode(encode::Arguments),
    /// The model's own figures on held-out data
    Eval(eval::Arguments),
    /// Train and sample on built-in data in about a minute
    Demo(demo::Arguments),
    /// Weights of a reference implementation as a folder
    Convert(convert::Arguments),
    /// Write every kernel, expanded, with a note on its bindings
    Shaders(shaders::Arguments),
    /// What is wrong with a compute shader of anybody's: races, memory that nobody wrote, indices out of bounds
    Sanitize(sanitize::Arguments),
}

/// Parses the arguments, runs the command, reports its error. Exit status: 0 done, 1 a check failed, 2 bad usage or input, or an answer that
/// could not be written; 130, 143 and 129 a training stopped by Ctrl-C, SIGTERM and a closed terminal, its checkpoint kept.
pub fn main() -> ExitCode {
    set_environment();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => error.exit(),
        // --help and --version.
        Err(answer) => return answered(&answer),
    };
    let level = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => "error",
        (_, 0) => "wgen=info,warn,wgpu_hal=error,wgpu_core=error",
        (_, 1) => "wgen=debug,info,wgpu_hal=error,wgpu_core=error",
        _ => "wgen=trace,naga=info,debug",
    };
    let mut logger = env_logger::Builder::new();
    logger.parse_filters(level);
    if !is_unset("RUST_LOG") {
        logger = env_logger::Builder::from_default_env();
    }
    logger
        .target(env_logger::Target::Pipe(Box::new(bar::Above)))
        .format(|out, record| {
            let mut text = record.args().to_string();
            if record.target().starts_with("wgen") {
                text = flags::flags(&text);
            }
            let level = record.level().as_str().to_lowercase();
            writeln!(out, "{level}: {}", plain(&text))
        })
        .init();
    signals::install();
    let done = run(&cli);
    let mut status = signals::status().unwrap_or(ExitCode::SUCCESS);
    // What the command failed by counts before what was lost of its words.
    for error in [check_said().err(), done.err()].into_iter().flatten() {
        let message = flags::message(&error);
        writeln!(std::io::stderr(), "error: {}", plain(&message)).ok();
        status = ExitCode::from(error.exit_status());
    }
    status
}

/// What drivers read of the environment: they, too, would make folders where an empty or a relative path leads.
fn set_environment() {
    for name in ["XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "HOME"] {
        if std::env::var_os(name).is_some_and(|path| Path::new(&path).is_relative()) {
            // SAFETY: nothing else runs yet.
            unsafe { std::env::remove_var(name) };
        }
    }
    if is_unset("XDG_RUNTIME_DIR") {
        // Without a session Mesa's device-select layer complains on stderr that it finds no Wayland socket; we have no window.
        // SAFETY: nothing else runs yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

/// An environment variable that is empty is not set.
fn is_unset(name: &str) -> bool {
    std::env::var_os(name).is_none_or(|value| value.is_empty())
}

/// Writes what was asked for instead of a command.
fn answered(answer: &clap::Error) -> ExitCode {
    let written = answer.print().and_then(|()| std::io::stdout().flush());
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            writeln!(std::io::stderr(), "error: standard output: {error}").ok();
            ExitCode::from(2)
        }
        _ => ExitCode::SUCCESS,
    }
}

fn run(cli: &Cli) -> Result<()> {
    let output = Output::new(cli.global.json, cli.global.quiet);
    let device = &cli.global.device;
    match &cli.command {
        Command::Info(arguments) => info::run(&output, device, arguments),
        Command::Verify(arguments) => {
            verify::run(&output, device, arguments, cli.global.verbose > 0)
        }
        Command::Bench(arguments) => bench::run(&output, device, arguments),
        Command::Data(arguments) => data::run(&output, arguments),
        Command::Scene(arguments) => scene::run(&output, arguments),
        Command::Train(arguments) => train::run(&output, device, arguments),
        Command::Sample(arguments) => sample::run(&output, device, arguments),
        Command::Reconstruct(arguments) => reconstruct::run(&output, device, arguments),
        Command::Render(arguments) => render::run(&output, device, arguments),
        Command::Mesh(arguments) => mesh::run(&output, device, arguments),
        Command::Interpolate(arguments) => interpolate::run(&output, device, arguments),
        Command::Encode(arguments) => encode::run(&output, device, arguments),
        Command::Eval(arguments) => eval::run(&output, device, arguments),
        Command::Demo(arguments) => demo::run(&output, device, arguments),
        Command::Convert(arguments) => convert::run(&output, arguments),
        Command::Shaders(arguments) => shaders::run(&output, arguments),
        Command::Sanitize(arguments) => sanitize::run(&output, arguments),
    }
}
