//! Embedded migrations: cargo does not see that `sqlx::migrate!` reads them.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
