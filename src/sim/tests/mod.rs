mod carriers;
mod moves;
mod races;
mod rules;
mod scenes;
