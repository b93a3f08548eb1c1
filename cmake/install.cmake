# What `cmake --install` puts where: programs that people call in bin, their helpers in lib/drupe, what guests boot from in
# share/drupe, manual pages, completions, and systemd's units.
include(GNUInstallDirs)

install(TARGETS drupe druped RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS drupe-vmm drupe-import drupe-export RUNTIME DESTINATION lib/drupe)
install(FILES ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/initramfs.cpio ${CMAKE_SOURCE_DIR}/build/kernel/vmlinux
  DESTINATION share/drupe)
install(DIRECTORY ${CMAKE_BINARY_DIR}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 FILES_MATCHING PATTERN "*.1")
install(FILES ${CMAKE_SOURCE_DIR}/docs/druped.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
install(FILES ${CMAKE_BINARY_DIR}/completions/drupe.bash DESTINATION share/bash-completion/completions RENAME drupe)
install(FILES ${CMAKE_BINARY_DIR}/completions/drupe.zsh DESTINATION share/zsh/site-functions RENAME _drupe)
install(FILES ${CMAKE_BINARY_DIR}/completions/drupe.fish DESTINATION share/fish/vendor_completions.d)
# The prefix may be another at the time of the installation.
install(CODE "
  file(READ ${CMAKE_SOURCE_DIR}/api/systemd/druped.service.in unit)
  string(REPLACE BINDIR \${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR} unit \"\${unit}\")
  file(WRITE ${CMAKE_BINARY_DIR}/systemd/druped.service \"\${unit}\")")
install(FILES ${CMAKE_BINARY_DIR}/systemd/druped.service ${CMAKE_SOURCE_DIR}/api/systemd/druped.socket
  DESTINATION lib/systemd/system)
