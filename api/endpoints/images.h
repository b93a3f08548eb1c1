#pragma once

#include "api/endpoints/call.h"

namespace drupe::endpoints {

Status list_images(const Call& call);  // images.cc
Status inspect_image(const Call& call);
Status image_history(const Call& call);
Status tag_image(const Call& call);
Status delete_image(const Call& call);
Status prune_images(const Call& call);
Status create_image(const Call& call);  // images_create.cc
Status push_image(const Call& call);    // images_push.cc
Status save_images(const Call& call);   // images_archive.cc
Status save_image(const Call& call);
Status load_images(const Call& call);
Status check_auth(const Call& call);  // auth.cc

}  // namespace drupe::endpoints
