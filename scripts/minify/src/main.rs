//! Writes what is served in place of a script: `minify FROM TO`. Its last line says of which source it was made,
//! by the first eight bytes of the SHA-256 of it.

use std::path::Path;
use std::{env, fs};

use oxc_allocator::Allocator;
use oxc_codegen::{Codegen, CodegenOptions};
use oxc_minifier::{Minifier, MinifierOptions};
use oxc_parser::Parser;
use oxc_span::SourceType;
use sha2::{Digest, Sha256};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (from, to) = env::args().skip(1).zip(env::args().skip(2)).next().ok_or("minify FROM TO")?;
    let source = fs::read_to_string(&from)?;
    let allocator = Allocator::default();
    // Not a module: it is run where it stands.
    let kind = SourceType::from_path(Path::new(&from))?.with_script(true);
    let parsed = Parser::new(&allocator, &source, kind).parse();
    if let Some(fault) = parsed.diagnostics.first() {
        return Err(format!("{from}: {fault}").into());
    }
    let mut program = parsed.program;
    let minified = Minifier::new(MinifierOptions::default()).minify(&allocator, &mut program);
    let code = Codegen::new()
        .with_options(CodegenOptions::minify())
        .with_scoping(minified.scoping)
        .build(&program)
        .code;
    let digest: String =
        Sha256::digest(&source)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(to, format!("{}\n//{digest}\n", code.trim_end()))?;
    Ok(())
}
